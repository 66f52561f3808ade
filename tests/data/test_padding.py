"""At most one position in 20 is padding, whatever the lengths; few widths, and few parts of a batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sunfish.data.dataloader import BatchLoader
from sunfish.data.padding import padded_widths, row_multiple

CONTEXT = 300
RNG = np.random.default_rng(0)
DISTRIBUTIONS = {
    "constant": np.full(500, 33),
    "bimodal": np.where(RNG.random(3000) < 0.5, 20, 290),
    "one long among 10,000": np.append(np.full(10_000, 20), CONTEXT),
    "heavy tail": np.minimum(CONTEXT, 2 + (10 * RNG.pareto(1.1, 5000)).astype(int)),
    "uniform": RNG.integers(2, CONTEXT + 1, 5000),
    "two to seven": RNG.integers(2, 8, 2000),
    "fewer rows than a window": RNG.integers(2, CONTEXT + 1, 70),
    "fewer rows than two batches": RNG.integers(2, CONTEXT + 1, 19),
}


class Lengths:
    """A split of rows that have lengths and nothing else of interest."""

    prompt_length, one_text = 4, False

    def __init__(self, lengths: np.ndarray, context_length: int = CONTEXT) -> None:
        self.lengths, self.context_length = lengths.astype(np.int64), context_length

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int, shift: int = 0) -> np.ndarray:
        return np.full(self.lengths[index], index)

    def prompt(self, index: int) -> np.ndarray:
        return np.array([1])


def keeps_the_bound(lengths: np.ndarray, widths: np.ndarray) -> bool:
    """In whole numbers: padding is at most one position in 20."""
    return 20 * int((widths - lengths).sum()) <= int(widths.sum())


@given(
    lengths=st.lists(
        st.integers(2, CONTEXT) | st.integers(2, 12) | st.just(CONTEXT), min_size=1, max_size=90
    ),
    batch_size=st.integers(1, 32),
)
def test_the_bound_holds_for_any_lengths(lengths: list[int], batch_size: int) -> None:
    rows = np.sort(np.array(lengths))
    widths = padded_widths(rows, batch_size, CONTEXT)
    assert keeps_the_bound(rows, widths)
    assert (rows <= widths).all() and (widths <= CONTEXT).all()
    for begin in range(0, len(rows), batch_size):
        of_batch = widths[begin : begin + batch_size]
        assert (np.diff(of_batch) >= 0).all()
        # Each part is no wider than its longest row alone, to a multiple of 8.
        for width in np.unique(of_batch):
            longest = rows[begin : begin + batch_size][of_batch == width].max()
            assert width in {min(-(-longest // m) * m, CONTEXT) for m in (1, 2, 4, 8)}


@pytest.mark.parametrize("batch_size", [2, 16])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_training_keeps_the_bound(name: str, batch_size: int) -> None:
    loader = BatchLoader(Lengths(DISTRIBUTIONS[name]), batch_size, 0, seed=1)
    window = loader.window_batches
    for first in (0, window, 7 * window):
        batches = [loader.batch(step) for step in range(first, first + window)]
        real = sum(int(batch.lengths.sum()) for batch in batches)
        computed = sum(batch.positions for batch in batches)
        assert 20 * (computed - real) <= computed
    assert loader.padding(window) <= 0.05


def test_validation_is_padded_to_multiples_of_eight_even_where_that_is_much() -> None:
    """Else its figures would depend on the lengths of other texts."""
    for name, lengths in DISTRIBUTIONS.items():
        batches = list(BatchLoader(Lengths(lengths), 16, 0, seed=1).in_order(0, 16))
        rows = np.sort(lengths)
        for first, batch in zip(range(0, len(rows), 16), batches, strict=True):
            longest = int(rows[first : first + 16].max())
            assert batch.x0.shape[1] == min(-(-longest // 8) * 8, CONTEXT), name


def test_a_row_alone_keeps_the_bound_by_the_largest_multiple_that_does() -> None:
    for length in range(1, 400):
        for one_in in (7, 20):
            kept = [m for m in (1, 2, 4, 8) if one_in * (m - 1) <= length + m - 1]
            assert row_multiple(np.array(length), one_in) == max(kept)


def test_multiples_of_eight_stay_where_they_keep_the_bound() -> None:
    lengths = np.sort(np.random.default_rng(0).integers(90, 200, 512))
    widths = padded_widths(lengths, 16, 256)
    expected = [-(-lengths[i : i + 16].max() // 8) * 8 for i in range(0, 512, 16)]
    assert widths.tolist() == np.repeat(expected, 16).tolist()


def test_the_split_that_saves_most_comes_first() -> None:
    """One long row in the second of three batches; the others differ too little to matter."""
    lengths = np.array([19, 20, 20, 20, 20, 20, 20, 300, 300, 300, 300, 300])
    assert padded_widths(lengths, 4, CONTEXT).tolist() == [20] * 7 + [300] * 5


def test_no_more_is_split_than_the_bound_asks_for() -> None:
    """Three parts by hand: 5 x 100, 2 x 200 and a 300 leave 0; two parts at best 200 positions of 1,400."""
    lengths = np.array([100] * 5 + [200] * 2 + [300])
    assert padded_widths(lengths, 8, CONTEXT).tolist() == lengths.tolist()
    many = np.concatenate([lengths, np.full(16, 300)])  # beside these, one split is enough
    assert padded_widths(many, 8, CONTEXT)[:8].tolist() == [104] * 5 + [300] * 3


def test_a_width_is_that_of_the_whole_batch_on_every_rank() -> None:
    split = Lengths(DISTRIBUTIONS["heavy tail"][:200])
    alone = BatchLoader(split, 16, 0, seed=2)
    for step in range(12):
        rows = dict(zip(alone.row_numbers(step), alone.batch(step).widths, strict=True))
        for size in (2, 4):
            ranks = [BatchLoader(split, 16 // size, 0, 2, rank, size) for rank in range(size)]
            for rank in ranks:
                batch = rank.batch(step)
                widths = [batch.widths[row] for row in batch.share.rows]
                assert widths == [rows[row] for row in rank.row_numbers(step)]


@pytest.mark.parametrize(
    ("length", "width"), [(40, 40), (37, 38), (33, 34), (29, 30), (61, 64), (57, 60), (5, 5)]
)
def test_rounding_is_as_coarse_as_the_bound_allows(length: int, width: int) -> None:
    """By hand: 37 to 40 leaves 7.5%, too much for rows of one length, so it is 38; 61 to 64 leaves 4.7%."""
    widths = padded_widths(np.full(64, length), 16, CONTEXT)
    assert widths.tolist() == [width] * 64
