"""Batches and conditions as values: where they are, how conditions join."""

from __future__ import annotations

import pytest
import torch

from sunfish.types import Condition
from tests.helpers import batch, model


def test_a_batch_moves_as_a_whole() -> None:
    texts = batch()
    moved = texts.to(torch.device("meta"))
    assert [(part.device.type, part.shape, part.dtype) for part in moved[:4]] == [
        ("meta", part.shape, part.dtype) for part in texts[:4]
    ]


@pytest.mark.parametrize("lengths", [(5, 5), (2, 5), (5, 2)])
@torch.no_grad()
def test_conditions_of_any_length_keep_their_prompts_and_scales(lengths: tuple[int, int]) -> None:
    """Rows of one prompt length after rows of another: what is padded is hidden, a missing scale is 1."""
    network, texts = model(), batch()
    first, second = (network.encode(texts.prompt[:, :n], texts.prompt_mask[:, :n]) for n in lengths)
    joined = first.at_scale(3.0).concat(second)
    assert joined.scale is not None and joined.scale.tolist() == [3.0] * 3 + [1.0] * 3
    assert joined.mask.shape == (6, 6)
    for rows, part, length in ((slice(0, 3), first, lengths[0]), (slice(3, 6), second, lengths[1])):
        assert torch.equal(joined.keys[:, rows, :, : 1 + length], part.keys)
        assert torch.equal(joined.values[:, rows, :, : 1 + length], part.values)
        assert torch.equal(joined.mask[rows, : 1 + length], part.mask)
        assert not joined.mask[rows, 1 + length :].any()


@torch.no_grad()
def test_many_conditions_are_stacked_at_once() -> None:
    network, texts = model(), batch()
    parts = [network.encode(texts.prompt[:, :n], texts.prompt_mask[:, :n]) for n in (2, 5, 3)]
    stacked, one_by_one = Condition.stack(parts), parts[0].concat(parts[1]).concat(parts[2])
    assert torch.equal(stacked.keys, one_by_one.keys) and torch.equal(stacked.values, one_by_one.values)
    assert torch.equal(stacked.mask, one_by_one.mask) and stacked.scale is None


@torch.no_grad()
def test_rows_of_a_condition_are_taken_and_repeated() -> None:
    texts = batch()
    condition = model().encode(texts.prompt, texts.prompt_mask)
    for scaled in (condition, condition.at_scale(3.0)):
        first, twice = scaled.first(2), scaled.repeat(2)
        rows = {"first": [0, 1], "twice": [0, 0, 1, 1, 2, 2]}
        for changed, chosen in ((first, rows["first"]), (twice, rows["twice"])):
            assert torch.equal(changed.keys, scaled.keys[:, chosen])
            assert torch.equal(changed.values, scaled.values[:, chosen])
            assert torch.equal(changed.mask, scaled.mask[chosen])
            if scaled.scale is None:
                assert changed.scale is None
            else:
                assert changed.scale is not None and torch.equal(changed.scale, scaled.scale[chosen])
