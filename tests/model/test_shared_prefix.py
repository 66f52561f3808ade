"""The shared-prefix cache: it says what a plain cache says, and a pass finds in it what it finds in a plain one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from sunfish.model.kv_cache import KVCache
from sunfish.model.shared_prefix import SharedPrefixCache
from sunfish.model.transformer import Transformer
from sunfish.types import Condition
from tests.helpers import CONFIG, ids_of, model, normal, process_of, row_generators

PREFIX, TEXTS = 6, 3


def part(rows: int, length: int, name: str) -> KVCache:
    return KVCache(normal(CONFIG.n_layer + 1, 2, rows, CONFIG.n_head, length, 4, name=name))


def pair(branches: int, suffix: int) -> tuple[SharedPrefixCache, KVCache]:
    """TEXTS continuations of one text in every branch, as a shared-prefix cache and as a plain one."""
    plain = part(branches, PREFIX, "prefix")
    shared, texts = SharedPrefixCache.of(plain), torch.zeros(TEXTS, dtype=torch.long)
    new = part(branches * TEXTS, suffix, "suffix")
    return shared.select(texts, branches).append(new), plain.select(texts, branches).append(new)


def same(shared: KVCache, plain: KVCache) -> None:
    assert isinstance(shared, SharedPrefixCache)
    assert shared.length == plain.length and shared.num_rows == plain.num_rows
    assert torch.equal(shared.keys_values, plain.keys_values)


@pytest.mark.parametrize("branches", [1, 2])
def test_parts_of_it_are_those_of_a_plain_cache(branches: int) -> None:
    shared, plain = pair(branches, 4)
    same(shared, plain)
    for length in (PREFIX, PREFIX + 1, PREFIX + 4):
        same(shared.trim(length), plain.trim(length))
        assert torch.equal(shared.trim(length).last_token(length), plain.last_token(length))
    for count in {1, TEXTS, branches * TEXTS}:
        same(shared.rows(count), plain.rows(count))
    texts = torch.tensor([2, 0, 2, 1])
    same(shared.select(texts, branches), plain.select(texts, branches))
    starts = torch.tensor([PREFIX, PREFIX + 3, PREFIX + 1]).repeat(branches)
    assert torch.equal(shared.last_token(starts), plain.last_token(starts))
    for counts in ([2, 2, 2], [1, 2, 0]):
        lengths = [PREFIX + 2] * TEXTS
        same(shared.accept(lengths, counts, 2), plain.accept(lengths, counts, 2))


def test_rows_that_are_no_whole_branches_are_refused() -> None:
    with pytest.raises(AssertionError):
        pair(2, 1)[0].rows(TEXTS + 1)


@pytest.fixture(scope="module")
def network() -> Transformer:
    return model()


def texts_before(network: Transformer, suffix: int) -> tuple[Condition, SharedPrefixCache, KVCache]:
    """The prompt of each row, two branches, and what the network makes of a text that all rows continue."""
    prompts = ids_of(2, 4, "prompts")
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[1, 2:] = False
    two = network.encode(prompts, mask)
    plain = network.prefill(ids_of(1, PREFIX, "prefix").expand(2, -1), two)[1]
    rows = torch.arange(2).repeat_interleave(TEXTS)
    condition = network.encode(prompts[rows], mask[rows])
    texts = torch.zeros(TEXTS, dtype=torch.long)
    shared, plain = SharedPrefixCache.of(plain).select(texts, 2), plain.select(texts, 2)
    if suffix:
        ids = ids_of(2 * TEXTS, suffix, "suffix")
        shared = network.prefill(ids, condition, shared)[1]
        plain = network.prefill(ids, condition, plain)[1]
    return condition, shared, plain


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=0)


STARTS = [
    pytest.param(0, None, id="right after the prefix"),
    pytest.param(5, None, id="after all texts"),
    pytest.param(5, [PREFIX, PREFIX + 5, PREFIX + 2], id="texts of several lengths"),
]


@pytest.mark.parametrize(("suffix", "starts"), STARTS)
@pytest.mark.parametrize("length", [1, 4])
@torch.inference_mode()
def test_passes_find_what_they_find_in_a_plain_cache(
    network: Transformer, suffix: int, starts: list[int] | None, length: int
) -> None:
    condition, shared, plain = texts_before(network, suffix)
    close(shared.keys_values, plain.keys_values)
    start = PREFIX + suffix if starts is None else torch.tensor(starts * 2)
    ids = ids_of(2 * TEXTS, length, "new")
    (actual, grown), (expected, longer) = (
        network.prefill(ids, condition, cache, start) for cache in (shared, plain)
    )
    close(actual, expected)
    assert isinstance(grown, SharedPrefixCache)
    close(grown.keys_values, longer.keys_values)

    process, t = process_of(), torch.ones(2 * TEXTS, length)
    noise = process.corrupt(ids, t, row_generators("noise"))
    close(*(network.denoise(noise, t, condition, cache, start) for cache in (shared, plain)))
    canvases = noise.repeat(1, length), t.repeat(1, length)
    for found, wanted in zip(
        *(network.prefill_and_draft(ids, *canvases, condition, cache, start) for cache in (shared, plain)),
        strict=True,
    ):
        if isinstance(found, Tensor) and isinstance(wanted, Tensor):
            close(found, wanted)
        elif isinstance(found, KVCache) and isinstance(wanted, KVCache):
            close(found.keys_values, wanted.keys_values)
        else:
            last = torch.full((2 * TEXTS,), length - 1)
            close(found(last).marginal_logits(len(last)), wanted(last).marginal_logits(len(last)))


@torch.inference_mode()
def test_bfloat16_loses_no_more_than_in_a_plain_cache() -> None:
    rounded = model(torch.bfloat16)
    ids = ids_of(2 * TEXTS, 2, "new")
    condition, _, plain = texts_before(copy.deepcopy(rounded).double(), 3)
    exact = copy.deepcopy(rounded).double().prefill(ids, condition, plain)[0]
    condition, *caches = texts_before(rounded, 3)
    in_shared, in_plain = (rounded.prefill(ids, condition, cache)[0].double() - exact for cache in caches)
    assert 0 < float(in_shared.square().mean()) < 1.2 * float(in_plain.square().mean())
