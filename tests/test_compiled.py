"""Compiled passes say what the passes themselves do, and one program serves every length of the memory."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from sunfish.config import ProcessConfig, TrainingConfig
from sunfish.config.presets import preset
from sunfish.config.sampling import SamplingSettings
from sunfish.model.compiled import Compiled, missing_tools
from sunfish.processes import build_process
from sunfish.rng import generator_of
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.loss import objective
from sunfish.training.trainer import Trainer
from sunfish.types import Condition, Denoiser, Past, Start
from tests.conftest import Workplace
from tests.helpers import CONFIG, batch, model

needs_compiler = pytest.mark.skipif(bool(missing_tools()), reason=f"compiling needs {missing_tools()}")
WIDTH = 4


def passes(denoiser: Denoiser, cond: Condition, past: Past | None, start: Start) -> Iterator[Tensor]:
    """What every kind of pass says."""
    rows = len(cond.mask)
    ids = torch.randint(1, 20, (rows, WIDTH), generator=generator_of("ids"))
    masks, t = torch.full((rows, WIDTH), CONFIG.vocab_size), torch.ones(rows, WIDTH)
    yield denoiser(masks, t, cond, past, start)
    yield from denoiser.remember(ids, cond, past, start)
    draft = denoiser.draft(masks, t, cond, past, start)
    assert draft.told is not None
    yield from (draft.alone, draft.told(ids[:, 1:]))
    ahead, times = masks.repeat(1, WIDTH), t.repeat(1, WIDTH)
    grown, logits, drafts = denoiser.read_and_draft(ids, cond, past, start, ahead, times)
    assert drafts is not None
    draft = drafts(torch.tensor([2, 0])[:rows])
    assert draft.told is not None
    yield from (grown, logits, draft.alone, draft.told(ids[:, 1:]))


@needs_compiler
@torch.inference_mode()
def test_compiled_passes_say_the_same_with_one_program_for_all_lengths() -> None:
    m, b = model(torch.float32), batch(2)
    compiled = Compiled(m)
    cond = m.encode(b.prompt, b.prompt_mask)
    past = m.remember(b.x0, cond)[0]
    # without a memory; rows of one length, of several, a memory with more behind it than a row may see
    starts: list[tuple[int, Start]] = [
        (0, 0),
        (9, 9),
        (12, 12),
        (7, torch.tensor([7, 3])),
        (5, 5),
        (16, torch.tensor([2, 11])),
    ]
    programs: list[int] = []
    for remembered, start in starts:
        memory = past[..., :remembered, :] if remembered else None
        expected = list(passes(m, cond, memory, start))
        found = list(passes(compiled, cond, memory, start))
        for own, exact in zip(found, expected, strict=True):
            torch.testing.assert_close(own, exact, atol=2e-5, rtol=1e-4)
        programs.append(counters["stats"]["unique_graphs"])
    assert programs[0] < programs[1]  # something is compiled
    assert len(set(programs[1:])) == 1


@needs_compiler
def test_a_compiled_checkpoint_writes_the_same_texts(trained: Workplace) -> None:
    settings = SamplingSettings(block_length=4)
    texts = [
        Pipeline.from_checkpoint(trained.checkpoint, compile=compile).generate(
            ["Write about dogs"], guidance_scale=1.0, settings=settings, seed=3, seq_len=24
        )
        for compile in (False, True)
    ]
    assert texts[0] == texts[1] and texts[0][0].tokens > 8


def test_without_a_compiler_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match=r"compile needs Python's header files, but .* has none; install"):
        Compiled(model())
    (tmp_path / "Python.h").touch()
    assert missing_tools() == ""
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    with pytest.raises(
        ValueError, match=r"compile needs a C\+\+ compiler, but .*no-compiler is not installed here"
    ):
        Compiled(model())
    with pytest.raises(ValueError, match=r"compile needs a C\+\+ compiler"):
        Trainer(preset("nano", compile=True, device="cpu", data_folder=str(tmp_path)))
    assert list(tmp_path.iterdir()) == [tmp_path / "Python.h"]  # nothing was prepared before that


@needs_compiler
def test_compiled_layers_learn_the_same() -> None:
    """``--compile`` of a run: the losses and gradients of the layers as they are, over the kinds of blocks."""
    whole, compiled = (model(torch.float32).train() for _ in range(2))
    compiled.compile_layers()
    for block in (0, 3):
        found = []
        for m in (whole, compiled):
            m.zero_grad()
            losses = objective(
                m, build_process(ProcessConfig()), batch(), generator_of("x"), block, TrainingConfig()
            )
            losses.total.backward()
            found.append([losses.total, *(p.grad for p in m.parameters() if p.grad is not None)])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4)
