"""Matrices of one byte a weight: exact arithmetic on what was rounded, and no row that depends on another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sunfish.config import ProcessConfig
from sunfish.config.sampling import SamplingSettings
from sunfish.model.kernels.int8 import Int8Linear, in_int8
from sunfish.processes import build_process
from sunfish.rng import Streams, generator_of
from sunfish.sampling import pipeline as pipeline_module
from sunfish.sampling.pipeline import Pipeline
from tests.conftest import Workplace
from tests.helpers import batch, config_of, model


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Each row as the nearest multiples of a 127th of its largest number, in float64."""
    step = x.double().abs().amax(-1, keepdim=True) / 127
    return torch.round(x.double() / step) * step


def test_a_product_is_that_of_the_rounded_rows() -> None:
    weight = torch.randn(40, 24, generator=generator_of("w")) * torch.logspace(-3, 3, 40)[:, None]
    x = torch.randn(2, 5, 24, generator=generator_of("x")) * torch.logspace(-2, 2, 5)[:, None]
    x[0, 0] = 0.0
    found = Int8Linear(weight)(x)
    assert found.shape == (2, 5, 40) and not found[0, 0].any()
    expected = rounded(x[1]) @ rounded(weight).T
    torch.testing.assert_close(
        found[1].double(), expected, rtol=1e-5, atol=1e-9 + 1e-5 * float(expected.abs().amin())
    )
    exact = x[1].double() @ weight.double().T
    error = (found[1] - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert bool((error < 0.02).all()) and bool((error > 1e-4).any())  # it is rounded, and not by much


def test_a_row_does_not_depend_on_the_others() -> None:
    layer = Int8Linear(torch.randn(33, 64, generator=generator_of("w")))
    x = torch.randn(9, 64, generator=generator_of("x"))
    together = layer(torch.cat([x, 1000 * x]))[:9]
    assert torch.equal(together, torch.cat([layer(row[None]) for row in x]))


@pytest.mark.parametrize("process", ["masked", "uniform", "gaussian"])
def test_a_model_in_int8_predicts_what_the_model_does(process: str) -> None:
    m, b = model(config=config_of(process)).float(), batch()
    corruption = build_process(ProcessConfig(process=process))
    t = torch.full(b.x0.shape, 0.7)
    x = corruption.corrupt(b.x0, t, m.table, Streams([generator_of("noise")]))
    before = logits(m, b, x, t)
    kept = {name for name, module in m.named_modules() if isinstance(module, nn.Linear)}
    in_int8(m, least=0)
    kept &= {name for name, module in m.named_modules() if isinstance(module, nn.Linear)}
    assert {name for name in kept if not name.startswith("draft_head.")} == {
        name for name in kept if name.endswith(".project") and process != "masked"
    }
    for own, exact in zip(logits(m, b, x, t), before, strict=True):
        assert 1e-6 < float((own - exact).norm() / exact.norm()) < 0.05


@torch.no_grad()
def logits(m, b, x, t):  # type: ignore[no-untyped-def]
    """Of the memory and of the canvas."""
    cond = m.encode(b.prompt, b.prompt_mask)
    return m.remember(b.x0, cond)[1], m(x, t, cond)


def test_a_checkpoint_writes_in_int8(trained: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "LEAST", 0)
    exact = Pipeline.from_checkpoint(trained.checkpoint)
    pipeline = Pipeline.from_checkpoint(trained.checkpoint, precision="int8")
    assert isinstance(pipeline.model.int8_head, Int8Linear)
    prompts = ["Write about dogs", "Describe the ocean"]
    settings = SamplingSettings(block_length=4)
    together = pipeline.generate(prompts, seq_len=24, settings=settings)
    assert all(text.tokens > 0 for text in together)
    row = torch.tensor([[exact.tokenizer.end, *together[0].ids]])
    nats = [float(p.log_likelihood(row, p.encode(prompts[:1]))) for p in (exact, pipeline)]
    assert nats[1] == pytest.approx(nats[0], rel=0.05) and nats[0] != nats[1]


def test_int8_is_for_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision is int8, which is for a CPU, but device is cuda"):
        Pipeline.from_checkpoint(tmp_path, "cuda", "int8")
    with pytest.raises(ValueError, match="precision is 'int4'; give one of: float32, bfloat16, int8"):
        Pipeline.from_checkpoint(tmp_path, precision="int4")
