"""Validation: each figure against its definition, whatever the batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

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
from sunfish.types import Batch, Process
from tests.helpers import CONFIG, batch, model, process_of, row_generators, separate_passes
from tests.training.recording import record_canvases


class HeldOut:
    """The test batch as held-out texts; a wrong prompt is another row's, or with ``same`` the right one."""

    def __init__(self, rows: int = 6, same: bool = False) -> None:
        self.all, self.same = batch(rows), same
        self.split = SimpleNamespace(bytes=np.arange(10, 10 + rows))

    def spread_rows(self, limit: int) -> Any:
        return np.arange(limit)

    def in_order(self, limit: int, batch_size: int, wrong_prompts: bool = False) -> Iterator[Batch]:
        x0, lengths, prompt, mask, *_ = self.all
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
    m: Transformer,
    process: Process,
    b: Batch,
    prompts: Batch,
    canvas: tuple[Tensor, Tensor],
    block_length: int,
) -> float:
    """Nats of the unknown tokens, as sampling sees them: block by block over a cache."""
    x_t, t = canvas
    condition = m.encode(prompts.prompt, prompts.prompt_mask)
    logits = m.head(separate_passes(m, b.x0, x_t, t, condition, block_length)[1])
    scored = process.loss_mask(x_t, t)
    if process.state_kind == "masks":  # each over its time
        nats = F.cross_entropy(logits.mT, b.x0, reduction="none") / t
    else:
        nats = process.loss(logits.float(), b.x0, x_t, t)
    return float(nats[scored].sum().detach())


@pytest.mark.parametrize(("name", "batch_size"), [("masked", 6), ("masked", 4), ("uniform", 4)])
def test_every_bound_is_that_of_its_canvas(name: str, batch_size: int) -> None:
    """Of the whole text under right and wrong prompts, and of blocks of 4; a batch of fewer rows counts less."""
    m, held_out = model(process=name), HeldOut()
    process = process_of(name, m)
    canvases, lengths, batches = record_canvases(process), (16, 4, 0), cast(Any, held_out)
    validation = validate(m, process, batches, 6, batch_size, lengths, torch.float32)
    right = list(held_out.in_order(6, batch_size))
    wrong = list(held_out.in_order(6, batch_size, wrong_prompts=True))
    whole, blocks = canvases[::2], canvases[1::2]
    for (_, at_once), (_, in_turn) in zip(whole, blocks, strict=True):
        assert bool((at_once[:, 1:] == at_once[:, 1:2]).all())
        assert bool((in_turn[:, 4:] == in_turn[:, 4::4].repeat_interleave(4, 1)).all())
        assert len(in_turn[:, 4::4].unique()) == in_turn[:, 4::4].numel()
    tokens = int((held_out.all.lengths - 1).sum())

    def bound(prompts: list[Batch], canvases: list[tuple[Tensor, Tensor]], block_length: int) -> float:
        parts = zip(right, prompts, canvases, strict=True)
        return sum(bound_by_blocks(m, process, *part, block_length) for part in parts) / tokens

    expected = bound(right, whole, 16)
    assert validation.bound == pytest.approx(expected, rel=1e-5)
    assert validation.block_bound == pytest.approx(bound(right, blocks, 4), rel=1e-5)
    assert validation.prompt_gain == pytest.approx(bound(wrong, whole, 16) - expected, rel=1e-3)
    assert abs(validation.prompt_gain) > 0.01 and abs(validation.block_bound - expected) > 0.01


def test_every_batch_has_noise_of_its_own() -> None:
    process, held_out = process_of(), HeldOut()
    canvases, batches = record_canvases(process), cast(Any, held_out)
    validate(model(), process, batches, 6, 2, (4,), torch.float32, seed=5)
    assert len({float(t[0, 1]) for _, t in canvases[::2]}) == 3


def test_without_a_bound_the_figure_is_the_cross_entropy_of_the_unknown_tokens() -> None:
    m, b = model(process="gaussian"), batch()
    process = process_of("gaussian", m)
    t = sample_block_times(b, 16, 0.0, 1.0, make_generator("t")).double()
    x_t, condition = process.corrupt(b.x0, t, row_generators("x")), m.encode(b.prompt, b.prompt_mask)
    likelihood = process.log_likelihood(x_t, t)
    assert likelihood is not None
    logits = m.head(m.canvas_pass(x_t, t, condition)).float() + likelihood
    nats = -torch.log_softmax(logits, -1).gather(-1, b.x0[..., None])[..., 0]
    expected = float(nats[process.loss_mask(x_t, t)].sum().detach()) / int((b.lengths - 1).sum())
    canvas = losses_at(m, process, b, condition, x_t, t, 16, 0.0, evaluating=True).canvas
    assert float(canvas) == pytest.approx(expected, rel=1e-5)
