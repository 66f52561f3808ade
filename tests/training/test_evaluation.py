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

from sunfish.model.transformer import Transformer
from sunfish.training.evaluation import Validation, validate
from sunfish.types import Batch
from tests.helpers import CONFIG, batch, model, process_of


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
