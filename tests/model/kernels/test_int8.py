"""int8 matrices: exact arithmetic on what was rounded, and no row that depends on another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.config import GenerationConfig
from sunfish.model.kernels.int8 import Int8Linear, quantize_int8
from sunfish.model.transformer import Transformer
from sunfish.sampling.pipeline import Pipeline
from tests.conftest import Workplace
from tests.helpers import batch, model, normal, process_of, row_generators


def rounded(x: Tensor) -> Tensor:
    """Each row as the nearest multiples of a 127th of its largest number, in float64."""
    step = x.double().abs().amax(-1, keepdim=True) / 127
    return torch.round(x.double() / step) * step


def random(*shape: int, name: str) -> Tensor:
    return normal(*shape, name=name, dtype=torch.float32)


def test_a_product_is_that_of_the_rounded_rows() -> None:
    weight = random(40, 24, name="weight") * torch.logspace(-3, 3, 40)[:, None]
    x = random(2, 5, 24, name="x") * torch.logspace(-2, 2, 5)[:, None]
    x[0, 0] = 0.0
    product = Int8Linear(weight)(x)
    assert product.shape == (2, 5, 40) and not product[0, 0].any()
    expected = rounded(x[1]) @ rounded(weight).T
    atol = 1e-9 + 1e-5 * float(expected.abs().amin())
    torch.testing.assert_close(product[1].double(), expected, rtol=1e-5, atol=atol)
    exact = x[1].double() @ weight.double().T
    error = (product[1] - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert bool((error < 0.02).all()) and bool((error > 1e-4).any())  # it is rounded, and not by much


def test_a_row_does_not_depend_on_the_others() -> None:
    layer, x = Int8Linear(random(33, 64, name="weight")), random(9, 64, name="x")
    together = layer(torch.cat([x, 1000 * x]))[:9]
    assert torch.equal(together, torch.cat([layer(row[None]) for row in x]))


def linear_layers(network: Transformer) -> set[str]:
    return {name for name, module in network.named_modules() if isinstance(module, nn.Linear)}


@torch.no_grad()
def logits(network: Transformer, x: Tensor, t: Tensor) -> list[Tensor]:
    """Of the text and of the canvas."""
    texts = batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    return [network.prefill(texts.x0, condition)[0], network.denoise(x, t, condition)]


@pytest.mark.parametrize("name", ["masked", "uniform", "gaussian"])
def test_an_int8_model_predicts_what_the_model_does(name: str) -> None:
    network, texts = model(torch.float32, process=name), batch()
    t = torch.full(texts.x0.shape, 0.7)
    x = process_of(name, network).corrupt(texts.x0, t, row_generators("noise"))
    before, layers = logits(network, x, t), linear_layers(network)
    quantize_int8(network, min_numel=0)
    kept = {layer for layer in layers & linear_layers(network) if not layer.startswith("draft_head.")}
    # Time-conditioned processes use a part of these matrices by itself.
    used_in_part = {layer for layer in layers if layer.endswith(".qkv_proj") and name != "masked"}
    assert kept == used_in_part
    for quantized, exact in zip(logits(network, x, t), before, strict=True):
        assert 1e-6 < float((quantized - exact).norm() / exact.norm()) < 0.05


def test_small_matrices_stay() -> None:
    network = model(torch.float32)
    layers = linear_layers(network)
    assert quantize_int8(network) is network and network.int8_head is None  # all are below the usual size
    assert linear_layers(network) == layers
    quantize_int8(network, min_numel=network.token_embedding.numel() + 1)
    assert network.int8_head is None and linear_layers(network) < layers


def test_a_checkpoint_generates_in_int8(trained: Workplace) -> None:
    exact = Pipeline.from_checkpoint(trained.checkpoint)
    checkpoint = load_checkpoint(trained.checkpoint, "cpu")
    pipeline = Pipeline(checkpoint.model, checkpoint.process, checkpoint.tokenizer, min_int8_numel=0)
    assert isinstance(pipeline.model.int8_head, Int8Linear)
    prompts = ["Write about dogs", "Describe the ocean"]
    together = pipeline.generate(prompts, GenerationConfig(block_length=4), seq_len=24)
    assert all(text.tokens > 0 for text in together)
    row = torch.tensor([[exact.tokenizer.end, *together[0].ids]])
    nats = [float(p.log_likelihood(row, p.encode(prompts[:1]))) for p in (exact, pipeline)]
    assert nats[1] == pytest.approx(nats[0], rel=0.05) and nats[0] != nats[1]


def test_int8_is_for_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision is int8, which is for a CPU, but device is cuda"):
        Pipeline.from_checkpoint(tmp_path, "cuda", "int8")
    with pytest.raises(ValueError, match="precision is 'int4'; give one of: float32, bfloat16, int8"):
        Pipeline.from_checkpoint(tmp_path, precision="int4")
