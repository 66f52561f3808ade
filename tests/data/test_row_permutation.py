"""The order of an epoch: a permutation for any number of rows, uniform, of its seed and epoch, equal everywhere."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise, permutations

import numpy as np
import pytest

from sunfish.data.row_order import rows_at

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 97, 1023, 1024, 1025, 7919, 65_535, 65_536, 65_537]


def order(rows: int, seed: int = 0, epoch: int = 0) -> list[int]:
    return rows_at(np.arange(rows), rows, seed, epoch).tolist()


def row_at(position: int, rows: int, seed: int, epoch: int) -> int:
    """The same by whole numbers of Python."""
    digest = hashlib.shake_256(f"row order {seed} {epoch}".encode()).digest(512)
    numbers = [int.from_bytes(digest[first : first + 8], "little") for first in range(0, 512, 8)]
    for pivot, key in zip(numbers[:32], numbers[32:], strict=True):
        partner = (pivot - position) % rows
        mixed = (max(position, partner) + key) % 2**64
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
        position = partner if mixed >= 2**63 else position
    return position


@pytest.mark.parametrize("rows", SIZES)
def test_each_row_has_one_place(rows: int) -> None:
    assert sorted(order(rows, seed=3, epoch=5)) == list(range(rows))


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 1000, 2**31 - 1, 2**32 + 1, 2**62 + 57])
def test_it_is_what_whole_numbers_of_python_give(rows: int) -> None:
    for seed, epoch in ((0, 0), (2**40, 3), (-1, 10**9)):
        positions = np.unique(np.linspace(0, rows - 1, 20).astype(np.int64).clip(0, rows - 1))
        expected = [row_at(int(position), rows, seed, epoch) for position in positions]
        assert rows_at(positions, rows, seed, epoch).tolist() == expected


def test_it_is_the_same_on_every_platform() -> None:
    assert order(12, seed=7, epoch=2) == [1, 4, 7, 6, 10, 9, 3, 2, 0, 8, 11, 5]
    far = rows_at(np.array([0, 1, 2, 10**12]), 10**12 + 39, 7, 2)
    assert far.tolist() == [37689067633, 141460850676, 459445032034, 227329282114]


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = [order(1000, seed, epoch) for seed in range(5) for epoch in range(5)]
    for number, one in enumerate(orders):
        for other in orders[:number]:
            assert sum(a == b for a, b in zip(one, other, strict=True)) < 10  # 1 is expected


@pytest.mark.parametrize("rows", [2, 3, 4, 5])
def test_all_permutations_of_a_few_rows_are_equally_likely(rows: int) -> None:
    draws = 480
    counts = dict.fromkeys(permutations(range(rows)), 0)
    for epoch in range(draws):
        counts[tuple(order(rows, seed=11, epoch=epoch))] += 1
    expected, freedom = draws / len(counts), len(counts) - 1
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom)


def test_each_row_is_equally_likely_at_each_place() -> None:
    rows, draws = 10, 500
    counts = np.zeros((rows, rows))
    for epoch in range(draws):
        counts[np.arange(rows), order(rows, seed=12, epoch=epoch)] += 1
    chi_square = ((counts - draws / rows) ** 2 / (draws / rows)).sum()
    freedom = (rows - 1) ** 2
    assert abs(chi_square - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("rows", [100_000, 99_991, 2**17])
def test_neighbors_do_not_stay_together(rows: int) -> None:
    """Distances of 1 between neighbors follow a Poisson law of mean 2; the mean distance is a third of the rows."""
    distances = np.abs(np.diff(order(rows, seed=rows)))
    assert (distances == 1).sum() < 12  # below 1e-5 by chance
    deviation = rows / math.sqrt(18)
    assert abs(distances.mean() - rows / 3) < 6 * deviation / math.sqrt(rows)


def test_an_order_has_as_many_rises_as_falls() -> None:
    """Rises of a random permutation have the variance (n + 1) / 12."""
    rises = sum(a < b for a, b in pairwise(order(50_000, seed=5)))
    assert abs(rises - 49_999 / 2) < 4 * math.sqrt(50_001 / 12)
