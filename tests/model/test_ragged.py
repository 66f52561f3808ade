"""Rows of one batch that stand at different places: each is what it would be alone."""

from __future__ import annotations

import pytest
import torch

from sunfish.processes import process_builders
from sunfish.rng import make_generator
from tests.helpers import batch, model, process_of, row_generators, row_of

STARTS = torch.tensor([9, 4, 0])


@pytest.mark.parametrize("name", process_builders())
@torch.no_grad()
def test_a_row_is_read_and_denoised_as_it_would_be_alone(name: str) -> None:
    network, texts = model(process=name), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    _, cache = network.prefill(texts.x0[:, :9], condition)
    new = torch.randint(1, 20, (3, 5), generator=make_generator("new"))
    t = torch.ones(3, 5)
    t[:, 0] = 0.0
    x = process_of(name, network).corrupt(new, t, row_generators("x"))
    canvas = network.denoise(x, t, condition, cache, STARTS)
    logits, grown = network.prefill(new, condition, cache, STARTS)
    for row, start in enumerate(STARTS.tolist()):
        alone, rows = row_of(condition, row), slice(row, row + 1)
        before = network.prefill(texts.x0[rows, :start], alone)[1] if start else None
        expected = network.denoise(x[rows], t[rows], alone, before, start)
        torch.testing.assert_close(canvas[rows], expected, atol=1e-10, rtol=0)
        expected, whole = network.prefill(new[rows], alone, before)
        torch.testing.assert_close(logits[rows], expected, atol=1e-10, rtol=0)
        appended = grown.keys_values[:, :, rows, :, 9:]
        torch.testing.assert_close(appended, whole.keys_values[..., start:, :], atol=1e-10, rtol=0)


@torch.no_grad()
def test_accepted_rows_continue_as_they_would_alone() -> None:
    """A ragged pass, its draft accepted in part, another ragged pass: as speculative decoding does it."""
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    _, cache = network.prefill(texts.x0[:, :9], condition)
    new = torch.randint(1, 20, (3, 5), generator=make_generator("new"))
    counts = torch.tensor([2, 5, 1])
    _, grown = network.prefill(new, condition, cache, STARTS)
    accepted = grown.accept(STARTS.tolist(), counts.tolist(), 5)
    next_ids = new.roll(1, dims=1)
    logits, _ = network.prefill(next_ids, condition, accepted, STARTS + counts)
    for row, (start, count) in enumerate(zip(STARTS.tolist(), counts.tolist(), strict=True)):
        rows = slice(row, row + 1)
        text = torch.cat([texts.x0[rows, :start], new[rows, :count], next_ids[rows]], dim=1)
        expected, _ = network.prefill(text, row_of(condition, row))
        torch.testing.assert_close(logits[rows], expected[:, -5:], atol=1e-10, rtol=0)


@pytest.mark.parametrize("cached", [0, 5])
def test_a_start_that_is_not_after_the_cache_is_refused(cached: int) -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    cache = network.prefill(texts.x0[:, :cached], condition)[1] if cached else None
    message = f"start is 3, but the cache holds {cached} tokens"
    with pytest.raises(ValueError, match=message):
        network.prefill(texts.x0, condition, cache, 3)
    with pytest.raises(ValueError, match=message):
        network.denoise(texts.x0, torch.ones(texts.x0.shape), condition, cache, 3)
