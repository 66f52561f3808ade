"""The KV cache is a value: appending, cutting, accepting a draft row by row, the last token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sunfish.model.kv_cache import KVCache
from tests.helpers import CONFIG, batch, model, normal

LAYERS, ROWS, HEADS, WIDTH = 3, 4, 2, 5


def cache_of(length: int, name: str = "cache", rows: int = ROWS) -> KVCache:
    """A cache of random numbers; every one differs from every other."""
    return KVCache(normal(LAYERS, 2, rows, HEADS, length, WIDTH, name=name))


def token(cache: KVCache, row: int, position: int) -> Tensor:
    """All that a cache has of one token."""
    return cache.keys_values[:, :, row, :, position]


def test_a_cache_knows_its_size() -> None:
    cache = cache_of(6)
    assert (cache.length, cache.num_rows) == (6, ROWS)


@pytest.mark.parametrize("length", [1, 3, 5])
def test_a_pass_becomes_a_cache_of_its_first_positions(length: int) -> None:
    pairs = [
        tuple(normal(ROWS, HEADS, 5, WIDTH, name=f"{layer} {part}") for part in "kv")
        for layer in range(LAYERS)
    ]
    cache = KVCache.from_pass([(key, value) for key, value in pairs], length)
    assert cache.keys_values.shape == (LAYERS, 2, ROWS, HEADS, length, WIDTH)
    for layer, (key, value) in enumerate(pairs):
        assert torch.equal(cache.keys_values[layer, 0], key[:, :, :length])
        assert torch.equal(cache.keys_values[layer, 1], value[:, :, :length])


def test_appended_positions_come_last_and_change_neither_cache() -> None:
    first, second = cache_of(4), cache_of(3, "second")
    copies = first.keys_values.clone(), second.keys_values.clone()
    grown = first.append(second)
    assert grown.length == 7
    for row in range(ROWS):
        for position in range(7):
            source, place = (first, position) if position < 4 else (second, position - 4)
            assert torch.equal(token(grown, row, position), token(source, row, place))
    grown.keys_values.zero_()
    assert torch.equal(first.keys_values, copies[0]) and torch.equal(second.keys_values, copies[1])


def test_a_cache_keeps_its_number_format() -> None:
    cache = KVCache(cache_of(2).keys_values.bfloat16())
    assert cache.append(cache_of(1)).keys_values.dtype == torch.bfloat16


def test_trim_and_rows_keep_the_first_ones() -> None:
    cache = cache_of(6)
    assert torch.equal(cache.trim(4).keys_values, cache.keys_values[:, :, :, :, :4])
    assert cache.trim(0).length == 0
    assert torch.equal(cache.rows(3).keys_values, cache.keys_values[:, :, :3])
    assert cache.rows(3).num_rows == 3


def test_contiguous_is_the_same_without_holes() -> None:
    cut = cache_of(6).trim(3)
    assert not cut.keys_values.is_contiguous()
    whole = cut.contiguous()
    assert whole.keys_values.is_contiguous() and torch.equal(whole.keys_values, cut.keys_values)


@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize(
    ("lengths", "counts"),
    [
        ([5, 5, 5, 5], [4, 4, 4, 4]),  # all of the draft
        ([5, 5, 5, 5], [2, 2, 2, 2]),
        ([5, 5, 5, 5], [1, 4, 2, 3]),
        ([5, 3, 1, 4], [1, 4, 2, 3]),
        ([5, 3, 1, 4], [2, 4, 4, 3]),
        ([3, 3, 1, 2], [1, 1, 1, 1]),  # shorter than the cache before the draft
        ([5, 0, 5, 2], [0, 4, 1, 0]),  # rows that have ended keep nothing
        ([2, 2, 2, 2], [4, 4, 4, 4]),
    ],
)
def test_accept_keeps_the_valid_tokens_and_those_that_count(
    lengths: list[int], counts: list[int], branches: int
) -> None:
    """Against a loop over rows; guidance branches repeat the rows of the texts."""
    before, drafted = 5, 4
    cache = cache_of(before + drafted, rows=branches * ROWS)
    accepted = cache.accept(lengths, counts, drafted)
    assert accepted.length == max(length + count for length, count in zip(lengths, counts, strict=True))
    assert accepted.num_rows == branches * ROWS
    for row in range(branches * ROWS):
        length, count = lengths[row % ROWS], counts[row % ROWS]
        kept = [*range(length), *range(before, before + count)]
        for position, source in enumerate(kept):
            assert torch.equal(token(accepted, row, position), token(cache, row, source))


def test_the_last_token_is_the_normalized_embedding_before_the_start() -> None:
    network, texts = model(), batch()
    _, cache = network.causal_pass(texts.x0, network.encode(texts.prompt, texts.prompt_mask))
    embeddings = network.token_embedding[texts.x0]
    unit = embeddings / embeddings.pow(2).mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(cache.last_token(7), unit[:, 6])
    torch.testing.assert_close(cache.last_token(16), unit[:, 15])
    assert cache.last_token(0).shape == (3, CONFIG.n_embd) and not cache.last_token(0).any()
    ragged = cache.last_token(torch.tensor([4, 0, 16]))
    torch.testing.assert_close(ragged, torch.stack([unit[0, 3], torch.zeros_like(unit[0, 0]), unit[2, 15]]))


def test_texts_are_selected_in_every_branch() -> None:
    """Six rows are three texts with two branches, one branch after the other; a text may come twice."""
    cache = cache_of(3, rows=6)
    chosen = cache.select(torch.tensor([2, 0, 2, 1]), 2)
    assert chosen.num_rows == 8 and chosen.length == 3
    for row, source in enumerate([2, 0, 2, 1, 5, 3, 5, 4]):
        for position in range(3):
            assert torch.equal(token(chosen, row, position), token(cache, source, position))
    assert torch.equal(cache.select(torch.tensor([4]), 1).keys_values, cache.keys_values[:, :, 4:5])
