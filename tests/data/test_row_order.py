"""The order of rows: by seed and epoch, in batches of similar lengths, divided among ranks, one shift an epoch."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from sunfish.data.dataloader import BatchLoader

END, CONTEXT = 0, 9


class Numbered:
    """Rows in memory that say their number, their shift and their prompt; all lengths fit ``CONTEXT``."""

    context_length, prompt_length = CONTEXT, 16

    def __init__(self, lengths: list[int], one_text: bool = False, prompts: list[int] | None = None) -> None:
        self.lengths = np.array(lengths)
        self.one_text, self.prompts = one_text, prompts

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int, shift: int = 0) -> np.ndarray:
        return np.array([END, index + 1, shift, *[7] * (self.lengths[index] - 3)])

    def prompt(self, index: int) -> np.ndarray:
        return np.array([index + 1 if self.prompts is None else self.prompts[index]])


def rows_of(loader: BatchLoader, steps: range) -> list[list[int]]:
    return [(loader.batch(step).x0[:, 1] - 1).tolist() for step in steps]


def test_each_seed_fills_the_first_window_with_rows_of_its_own() -> None:
    """Four windows an epoch; the order of batches inside a window is left out of the comparison."""
    windows = []
    for seed in (1, 2):
        batches = rows_of(BatchLoader(Numbered([5] * 1024), 8, END, seed), range(32))
        windows.append({row for batch in batches for row in batch})
    assert len(windows[0]) == len(windows[1]) == 256
    assert len(windows[0] & windows[1]) < 128  # 64 are expected where the draws are independent


def test_batches_of_similar_lengths_come_in_the_order_of_seed_and_window() -> None:
    split = Numbered([3] * 256)
    split.context_length = 300
    split.lengths = np.random.default_rng(0).permutation(256) + 3  # each length once, one window an epoch
    orders = []
    for seed, first in ((1, 0), (2, 0), (1, 32)):
        batches = BatchLoader(split, 8, END, seed)
        ranks = [
            sorted(split.lengths[row] - 3 for row in rows)
            for rows in rows_of(batches, range(first, first + 32))
        ]
        assert all(rank == list(range(rank[0], rank[0] + 8)) and rank[0] % 8 == 0 for rank in ranks)
        orders.append(tuple(rank[0] // 8 for rank in ranks))
        assert sorted(orders[-1]) == list(range(32)) != list(orders[-1])
    assert len(set(orders)) == 3


@pytest.mark.parametrize("batch_size, world_size", [(3, 1), (2, 2)])
def test_all_rows_of_an_epoch_have_its_shift(batch_size: int, world_size: int) -> None:
    """Windows of nine or eight rows reach over the end of epochs of ten, and rows are sorted by length there."""
    split = Numbered([3, 8, 5, 9, 4, 7, 6, 3, 8, 5], one_text=True)
    split.context_length = 1_000_000  # no two epochs draw the same shift
    loaders = [BatchLoader(split, batch_size, END, 4, rank, world_size) for rank in range(world_size)]
    rows: defaultdict[int, list[int]] = defaultdict(list)
    for step in range(60):
        for loader in loaders:
            for row, shift in loader.batch(step).x0[:, 1:3].tolist():
                rows[shift].append(row - 1)
    assert len(rows) == 60 * batch_size * world_size / 10
    assert all(sorted(numbers) == list(range(10)) for numbers in rows.values())


def test_shifts_reach_from_none_to_the_last_position_of_a_full_row() -> None:
    split = Numbered([5], one_text=True)
    drawn = [
        [BatchLoader(split, 1, END, seed).batch(epoch).x0[0, 2].item() for epoch in range(80)]
        for seed in (1, 2)
    ]
    assert drawn[0] != drawn[1]
    assert {*drawn[0], *drawn[1]} == set(
        range(CONTEXT - 1)
    )  # a full row has CONTEXT - 1 tokens after its mark


def test_texts_of_their_own_are_never_shifted() -> None:
    loader = BatchLoader(Numbered([5] * 8), 4, END, seed=1)
    assert not any(loader.batch(step).x0[:, 2].any() for step in range(20))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_an_error_names_the_rows_of_this_rank(rank: int) -> None:
    loader = BatchLoader(Numbered([3, 5, 8, 9, 4] * 20), 4, END, 0, rank, world_size=3)
    for step in (0, 5, 9):
        assert loader.row_numbers(step) == rows_of(loader, range(step, step + 1))[0]


def test_the_padding_is_that_of_the_batches() -> None:
    split = Numbered([3, 9, 3, 9, 8, 4, 5, 3])
    split.context_length = 100
    loader = BatchLoader(split, 2, END, seed=0)
    batches = [loader.batch(step) for step in range(6)]
    real, all_positions = sum(int(b.lengths.sum()) for b in batches), sum(b.positions for b in batches)
    assert loader.padding(6) == 1 - real / all_positions > 0


@pytest.mark.parametrize("limit, expected", [(0, [2, 2, 3, 1]), (3, [2, 2, 1])])
def test_a_wrong_prompt_is_the_next_other_one_in_a_ring(limit: int, expected: list[int]) -> None:
    loader = BatchLoader(Numbered([3, 4, 5, 6], prompts=[1, 1, 2, 3]), 2, END, seed=0)
    batches = loader.in_order(limit, 2, wrong_prompts=True)
    assert [prompt for batch in batches for prompt in batch.prompt[:, 0].tolist()] == expected
