"""The growing cache: it says what a plain cache says, and no continuation of a text disturbs another one."""

from __future__ import annotations

import torch
from torch import Tensor

from sunfish.model.growing_cache import ROOM_STEP, GrowingCache
from sunfish.model.kv_cache import KVCache
from tests.helpers import normal

LAYERS, ROWS, HEADS, WIDTH = 2, 4, 2, 3


def part(length: int, name: str, rows: int = ROWS) -> Tensor:
    return normal(LAYERS, 2, rows, HEADS, length, WIDTH, name=name)


def grown(lengths: list[int]) -> tuple[GrowingCache, KVCache]:
    """A text that passes of these lengths appended to, as a growing cache and as a plain one."""
    growing, plain = GrowingCache(None, 0, part(lengths[0], "0")), KVCache(part(lengths[0], "0"))
    for number, length in enumerate(lengths[1:], start=1):
        new = part(length, str(number))
        growing, plain = growing.grown(new), plain.append(KVCache(new))
    return growing, plain


def same(growing: KVCache, plain: KVCache) -> None:
    assert growing.length == plain.length and growing.num_rows == plain.num_rows
    assert torch.equal(growing.keys_values, plain.keys_values)


def test_passes_are_appended_however_long_the_text() -> None:
    same(*grown([3]))
    same(*grown([3, 1, 8]))
    same(*grown([ROOM_STEP - 1, 1, 1, 2 * ROOM_STEP, 5]))


def test_a_plain_cache_gets_room() -> None:
    plain = KVCache(part(5, "plain"))
    growing = GrowingCache.of(plain)
    assert growing is not None and GrowingCache.of(growing) is growing and GrowingCache.of(None) is None
    new = part(2, "new")
    same(growing.grown(new), plain.append(KVCache(new)))


def test_parts_of_it_are_those_of_a_plain_cache() -> None:
    texts = torch.tensor([1, 0, 1])
    for settled in (False, True):
        growing, plain = grown([6, 4])
        if settled:
            growing.settle(0)
        for length in (10, 8, 6, 3):
            same(growing.trim(length), plain.trim(length))
        same(growing.rows(3), plain.rows(3))
        same(growing.select(texts, 2), plain.select(texts, 2))
        assert torch.equal(growing.last_token(7), plain.last_token(7))
        starts = torch.tensor([0, 10, 4, 1])
        assert torch.equal(growing.last_token(starts), plain.last_token(starts))


def test_what_is_accepted_is_what_a_plain_cache_accepts() -> None:
    for lengths, counts in (([6, 6], [3, 3]), ([6, 6], [1, 4]), ([6, 2], [4, 4]), ([3, 5], [2, 0])):
        growing, plain = grown([6, 4])
        same(growing.accept(lengths, counts, 4), plain.accept(lengths, counts, 4))


def test_rejected_positions_are_written_over() -> None:
    """As in speculative decoding: each pass appends four positions, of which two are kept."""
    growing, plain = grown([3])
    room = growing.settle(20)
    for number in range(5):
        new = part(4, f"round {number}")
        growing = growing.grown(new).trim(growing.length + 2)
        plain = plain.append(KVCache(new)).trim(plain.length + 2)
        same(growing, plain)
    assert growing.settle(0) is room and room.filled == 13, "all in one place"


def test_two_continuations_of_one_text_do_not_disturb_each_other() -> None:
    before, plain = grown([3, 4])
    left, right = part(2, "left"), part(5, "right")
    first, second = before.grown(left), before.grown(right)
    same(first, plain.append(KVCache(left)))
    same(second, plain.append(KVCache(right)))
    same(first.grown(right), plain.append(KVCache(left)).append(KVCache(right)))
    same(second, plain.append(KVCache(right)))
    same(before, plain)


def test_what_a_pass_writes_after_a_text_is_no_part_of_another_one() -> None:
    """A pass writes its keys into the spare room, which must not hold the longer text of somebody else."""
    before, plain = grown([3, 4])
    longer, trimmed = before.grown(part(2, "longer")), before.trim(5)
    copy = longer.keys_values.clone()
    for cache in (before, trimmed):
        room = cache.settle(9)
        assert room.capacity >= cache.length + 9
        room.data[:, :, :, cache.length :].fill_(99.0)
    assert torch.equal(longer.keys_values, copy)
    same(before, plain)
    same(trimmed, plain.trim(5))


def test_memory_grows_in_steps() -> None:
    growing, _ = grown([3])
    assert growing.settle(10).capacity == ROOM_STEP
    assert growing.settle(ROOM_STEP).capacity == 2 * ROOM_STEP
