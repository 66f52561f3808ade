"""Compiled passes say what the passes themselves do, and one program serves every length of the cache."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from sunfish.config import GenerationConfig, TrainingConfig
from sunfish.config.presets import preset
from sunfish.model.compiled import CompiledDenoiser, missing_compiler
from sunfish.model.denoiser import Denoiser
from sunfish.model.kv_cache import KVCache
from sunfish.rng import make_generator
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.loss import training_loss
from sunfish.training.trainer import Trainer
from sunfish.types import Condition, Start
from tests.conftest import Workplace
from tests.helpers import CONFIG, batch, model, process_of

needs_compiler = pytest.mark.skipif(bool(missing_compiler()), reason=f"compiling needs {missing_compiler()}")
WIDTH = 4


def outputs(
    denoiser: Denoiser, condition: Condition, cache: KVCache | None, start: Start
) -> Iterator[Tensor]:
    """What every kind of pass says."""
    rows = len(condition.mask)
    ids = torch.randint(1, 20, (rows, WIDTH), generator=make_generator("ids"))
    masks, t = torch.full((rows, WIDTH), CONFIG.vocab_size), torch.ones(rows, WIDTH)
    yield denoiser.denoise(masks, t, condition, cache, start)
    logits, grown = denoiser.prefill(ids, condition, cache, start)
    yield from (logits, grown.keys_values)
    if not isinstance(start, Tensor):  # as block diffusion reads a finished block: after all of the cache
        logits, grown = denoiser.prefill(ids, condition, cache)
        yield from (logits, grown.keys_values)
    draft = denoiser.draft(masks, t, condition, cache, start)
    assert draft.conditional_logits is not None
    yield from (draft.marginal_logits, draft.conditional_logits(ids[:, 1:]))
    masks, t = masks.repeat(1, WIDTH), t.repeat(1, WIDTH)
    logits, grown, draft_at = denoiser.prefill_and_draft(ids, masks, t, condition, cache, start)
    draft = draft_at(torch.tensor([2, 0])[:rows])
    assert draft.conditional_logits is not None
    yield from (logits, grown.keys_values, draft.marginal_logits, draft.conditional_logits(ids[:, 1:]))


@pytest.mark.slow
@needs_compiler
@torch.inference_mode()
def test_compiled_passes_say_the_same_with_one_program_for_all_lengths() -> None:
    network, texts = model(torch.float32), batch(2)
    compiled = CompiledDenoiser(network)
    condition = network.encode(texts.prompt, texts.prompt_mask)
    _, whole = network.prefill(texts.x0, condition)
    # Without a cache; rows of one length, of several, a cache longer than what a row may see.
    starts: list[tuple[int, Start]] = [
        (0, 0),
        (9, 9),
        (12, 12),
        (7, torch.tensor([7, 3])),
        (5, 5),
        (16, torch.tensor([2, 11])),
    ]
    programs: list[int] = []
    for cached, start in starts:
        cache = whole.trim(cached) if cached else None
        expected = list(outputs(network, condition, cache, start))
        actual = list(outputs(compiled, condition, cache, start))
        for output, exact in zip(actual, expected, strict=True):
            torch.testing.assert_close(output, exact, atol=2e-5, rtol=1e-4)
        programs.append(counters["stats"]["unique_graphs"])
    assert programs[0] < programs[1]  # something is compiled
    assert len(set(programs[1:])) == 1


@pytest.mark.slow
@needs_compiler
def test_a_compiled_checkpoint_generates_the_same_texts(trained: Workplace) -> None:
    config = GenerationConfig(block_length=4, guidance_scale=1.0)
    texts = [
        Pipeline.from_checkpoint(trained.checkpoint, compile=compile).generate(
            ["Write about dogs"], config, seed=3, seq_len=24
        )
        for compile in (False, True)
    ]
    assert texts[0] == texts[1] and texts[0][0].tokens > 8


def test_without_a_compiler_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match=r"compile needs Python's header files, but .* has none; install"):
        CompiledDenoiser(model())
    (tmp_path / "Python.h").touch()
    assert missing_compiler() == ""
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    message = r"compile needs a C\+\+ compiler, but .*no-compiler is not installed here"
    with pytest.raises(ValueError, match=message):
        CompiledDenoiser(model())
    with pytest.raises(ValueError, match=r"compile needs a C\+\+ compiler"):
        Trainer(preset("nano", compile=True, device="cpu", threads=1, data_folder=str(tmp_path)))
    assert list(tmp_path.iterdir()) == [tmp_path / "Python.h"]  # nothing was prepared before that


@pytest.mark.slow
@needs_compiler
def test_compiled_blocks_learn_the_same() -> None:
    """``--compile`` of a run: losses and gradients of the plain blocks, at both kinds of block length."""
    plain, compiled = (model(torch.float32).train() for _ in range(2))
    compiled.compile_blocks()
    for block_length in (16, 3):
        results = []
        for network in (plain, compiled):
            network.zero_grad()
            generator = make_generator("x")
            losses = training_loss(network, process_of(), batch(), generator, block_length, TrainingConfig())
            losses.total.backward()
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            results.append([losses.total, *gradients])
        for expected, actual in zip(*results, strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)
