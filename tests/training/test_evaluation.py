"""Validation: each figure against its definition, whatever the batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.transformer import Transformer
from sunfish.rng import make_generator
from sunfish.training.evaluation import Validation, validate
from sunfish.training.loss import losses_at
from sunfish.training.time_sampling import sample_block_times
from sunfish.types import Batch
from tests.helpers import CONFIG, batch, model, process_of, row_generators, separate_passes
from tests.training.recording import RecordingProcess


class HeldOut:
    """The test batch as held-out texts; a wrong prompt is another row's, or with ``same`` the right one."""

    def __init__(self, rows: int = 6, same: bool = False) -> None:
        self.all, self.same = batch(rows), same
        self.split = SimpleNamespace(bytes=np.arange(10, 10 + rows))

    def in_order(self, limit: int, batch_size: int, wrong_prompts: bool = False) -> Iterator[Batch]:
        x0, lengths, prompt, mask = self.all
        if wrong_prompts and not self.same:
            prompt, mask = prompt.roll(1, 0), mask.roll(1, 0)
        for first in range(0, limit, batch_size):
            rows = slice(first, min(first + batch_size, limit))
            yield Batch(x0[rows], lengths[rows], prompt[rows], mask[rows])


def figures(
    m: Transformer,
    held_out: HeldOut,
    texts: int = 6,
    batch_size: int = 6,
    block_lengths: tuple[int, ...] = (4, 0),
    seed: int = 0,
    process: str = "masked",
) -> Validation:
    batches: Any = held_out
    return validate(m, process_of(process, m), batches, texts, batch_size, block_lengths, torch.float32, seed)


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_next_token_is_the_exact_likelihood_of_the_real_tokens(batch_size: int) -> None:
    m, held_out = model(), HeldOut()
    b = held_out.all
    logits, _ = m.prefill(b.x0, m.encode(b.prompt, b.prompt_mask))
    nats = 0.0
    for row, size in enumerate(b.lengths[:5].tolist()):
        nats += float(F.cross_entropy(logits[row, : size - 1], b.x0[row, 1:size], reduction="sum").detach())
    validation = figures(m, held_out, texts=5, batch_size=batch_size)
    assert validation.next_token == pytest.approx(nats / int((b.lengths[:5] - 1).sum()), rel=1e-5)
    assert validation.texts == 5


def test_the_bound_is_seeded_and_counted_in_bits_of_text() -> None:
    m, held_out = model(), HeldOut()
    first, again, other = (figures(m, held_out, seed=seed) for seed in (0, 0, 1))
    assert first == again and first.proven
    assert other.next_token == first.next_token and other.bound != first.bound
    tokens, size = int((held_out.all.lengths - 1).sum()), int(held_out.split.bytes.sum())
    assert first.bits_per_byte == pytest.approx(first.bound * tokens / math.log(2) / size)


@pytest.mark.parametrize(
    "block_lengths,shortest", [((4, 0), 4), ((0,), CONFIG.context_length), ((0, 16, 2), 2)]
)
def test_the_shortest_block_length_has_a_bound(block_lengths: tuple[int, ...], shortest: int) -> None:
    validation = figures(model(), HeldOut(), block_lengths=block_lengths)
    assert validation.block_length == shortest and validation.block_bound > 0


def test_prompt_gain_is_what_the_wrong_prompts_cost() -> None:
    m = model()
    assert figures(m, HeldOut(same=True)).prompt_gain == pytest.approx(0, abs=1e-9)
    assert abs(figures(m, HeldOut()).prompt_gain) > 1e-4


def test_a_model_that_knows_nothing_is_as_good_as_guessing() -> None:
    """ln V exactly in the causal mode; the bound of unpadded texts is ln V in the mean over its noise."""
    m, held_out = model(), HeldOut(600)
    torch.nn.init.zeros_(m.output_scale)
    held_out.all = held_out.all._replace(lengths=torch.full((600,), 16))
    validation = figures(m, held_out, texts=600, batch_size=300)
    guess = math.log(CONFIG.vocab_size)
    assert validation.next_token == pytest.approx(guess, rel=1e-6)
    assert validation.bound == pytest.approx(guess, rel=0.05)
    assert validation.block_bound == pytest.approx(guess, rel=0.05)
    assert validation.prompt_gain == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("process,proven", [("uniform", True), ("mixed", True), ("gaussian", False)])
def test_a_process_says_whether_its_bound_is_proven(process: str, proven: bool) -> None:
    validation = figures(model(process=process), HeldOut(), process=process)
    assert validation.proven == proven and math.isfinite(validation.bound)


def bound_by_blocks(
    m: Transformer, b: Batch, prompts: Batch, canvas: tuple[Tensor, Tensor], block_length: int
) -> float:
    """Nats of masked tokens, each over its time, as sampling sees them: block by block over a cache."""
    x_t, t = canvas
    condition = m.encode(prompts.prompt, prompts.prompt_mask)
    _, hidden = separate_passes(m, b.x0, x_t, t, condition, block_length)
    masked = x_t == CONFIG.vocab_size
    nats = F.cross_entropy(m.head(hidden[masked]), b.x0[masked], reduction="none")
    return float((nats / t[masked]).sum().detach())


@pytest.mark.parametrize("batch_size", [6, 4])
def test_every_bound_is_that_of_its_canvas(batch_size: int) -> None:
    """Of the whole text under right and wrong prompts, and of blocks of 4; a batch of fewer rows counts less."""
    m, held_out = model(), HeldOut()
    process = RecordingProcess(CONFIG.vocab_size)
    validation = validate(m, process, held_out, 6, batch_size, (16, 4, 0), torch.float32)  # type: ignore[arg-type]
    right = list(held_out.in_order(6, batch_size))
    wrong = list(held_out.in_order(6, batch_size, wrong_prompts=True))
    whole, blocks = process.seen[::2], process.seen[1::2]
    for (_, at_once), (_, in_turn) in zip(whole, blocks, strict=True):
        assert bool((at_once[:, 1:] == at_once[:, 1:2]).all())
        assert bool((in_turn[:, 4:] == in_turn[:, 4::4].repeat_interleave(4, 1)).all())
        assert len(in_turn[:, 4::4].unique()) == in_turn[:, 4::4].numel()
    tokens = int((held_out.all.lengths - 1).sum())

    def bound(prompts: list[Batch], canvases: list[tuple[Tensor, Tensor]], block_length: int) -> float:
        parts = zip(right, prompts, canvases, strict=True)
        return sum(bound_by_blocks(m, *part, block_length) for part in parts) / tokens

    expected = bound(right, whole, 16)
    assert validation.bound == pytest.approx(expected, rel=1e-5)
    assert validation.block_bound == pytest.approx(bound(right, blocks, 4), rel=1e-5)
    assert validation.prompt_gain == pytest.approx(bound(wrong, whole, 16) - expected, rel=1e-3)
    assert abs(validation.prompt_gain) > 0.01 and abs(validation.block_bound - expected) > 0.01


def test_every_batch_has_noise_of_its_own() -> None:
    process, held_out = RecordingProcess(CONFIG.vocab_size), HeldOut()
    held_out.all = held_out.all._replace(x0=held_out.all.x0[:1].repeat(6, 1))
    validate(model(), process, held_out, 6, 2, (4,), torch.float32, seed=5)  # type: ignore[arg-type]
    times = [float(t[0, 1]) for _, t in process.seen[::2]]
    assert len(set(times)) == 3


def test_the_figures_of_other_processes_are_those_of_their_definition() -> None:
    """The bound of a process that has one, and the plain cross-entropy of the unknown tokens of one that has none."""
    b = batch()
    for name in ("uniform", "gaussian"):
        m = model(process=name)
        process = process_of(name, m)
        t = sample_block_times(b, 16, 0.0, 1.0, make_generator("t")).double()
        x_t, condition = process.corrupt(b.x0, t, row_generators("x")), m.encode(b.prompt, b.prompt_mask)
        logits = m.head(m.canvas_pass(x_t, t, condition)).float()
        scored = process.loss_mask(x_t, t)
        if name == "uniform":
            nats = process.loss(logits, b.x0, x_t, t)
        else:
            likelihood = process.log_likelihood(x_t, t)
            assert likelihood is not None
            nats = -torch.log_softmax(logits + likelihood, -1).gather(-1, b.x0[..., None])[..., 0]
        expected = float(nats[scored].sum().detach()) / int((b.lengths - 1).sum())
        canvas = losses_at(m, process, b, condition, x_t, t, 16, 0.0, evaluating=True).canvas
        assert float(canvas) == pytest.approx(expected, rel=1e-5)
