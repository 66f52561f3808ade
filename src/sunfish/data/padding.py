"""How far the rows of a batch are padded, so that at most one position in 20 is padding.

The bound holds for every window of batches, whatever the lengths of its rows and however few they are:

1. Where it keeps the bound, all rows of a batch are as wide as its longest one, rounded up to a multiple of 8.
2. Else rows are rounded up more finely and batches are split into parts of similar lengths, each as wide as its
   longest row. The split that saves most positions of the whole window comes first, and splitting ends as soon as
   the bound is kept. Rounding is as coarse as one split a batch allows.
3. At the finest rounding there are as many splits as it takes. A width is then a multiple of m, the largest of 1,
   2, 4 and 8 with 19 (m - 1) <= length. When nothing more can be saved, each row is as wide as if it were alone, with
   p <= m - 1 positions of padding. So 19 p <= length, which is 20 p <= length + p: at most one in 20.

A union of windows that keep the bound keeps it too. The first batches of a window that is not finished may be above it.

Coarse rounding has two reasons. Few widths mean few shapes of matrix products, for each of which a bfloat16 product
compiles kernels (docs/experiments/2026-11-memory-and-time.md). And canvases are to learn how a text ends inside a
block, which they see only where the row goes on to the end of that block (docs/experiments/2026-11-padding.md).
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]  # one number for each row

MULTIPLES = (8, 4, 2)
ONE_IN = 20  # positions, of which one may be padding
ROUNDINGS = (7, 10, 14, ONE_IN)  # a row alone has at most one position of padding in so many
Split = tuple[int, int, int, int]  # minus the positions saved; begin, middle and end of the rows


def padded_widths(lengths: Rows, batch_size: int, context_length: int) -> Rows:
    """How wide each row is padded; rows of one batch that have equal widths are computed together.

    Args:
        lengths: ``[rows]`` positions of each row, in ascending order.
        batch_size: So many rows after one another are a batch; the last batch may have fewer.
        context_length: No row is longer.

    Returns:
        ``[rows]``, in ascending order within each batch.
    """
    most = int(lengths.sum()) * ONE_IN // (ONE_IN - 1)
    widths = equal_widths(lengths, batch_size, context_length)
    for one_in in ROUNDINGS:
        if widths.sum() <= most:
            break
        alone = np.minimum(round_up(lengths, row_multiple(lengths, one_in)), context_length)
        splits = len(lengths) if one_in == ONE_IN else -(-len(lengths) // batch_size)
        widths = _split(alone, batch_size, most, splits)
    return widths


def equal_widths(lengths: Rows, batch_size: int, context_length: int) -> Rows:
    """How wide rows are padded if all of a batch are as wide as the longest; arguments as in :func:`padded_widths`."""
    return _longest(np.minimum(round_up(lengths, MULTIPLES[0]), context_length), batch_size)


def row_multiple(lengths: Rows, one_in: int = ONE_IN) -> Rows:
    """The largest multiple to which each row can be rounded up for at most one position of padding in ``one_in``."""
    able = [(one_in - 1) * (multiple - 1) <= lengths for multiple in MULTIPLES]
    multiples: Rows = np.select(able, MULTIPLES, 1)
    return multiples


def round_up(lengths: Rows, multiples: Rows | int) -> Rows:
    """The least multiple that is not below each length."""
    return -(-lengths // multiples) * multiples


def _longest(widths: Rows, batch_size: int) -> Rows:
    """For each row the width of the last one of its batch, which is the longest."""
    last = (np.arange(len(widths)) // batch_size + 1) * batch_size - 1
    return widths[np.minimum(last, len(widths) - 1)]


def _split(alone: Rows, batch_size: int, most: int, limit: int) -> Rows:
    """The widths after the best splits, until there are ``most`` positions or ``limit`` splits, or none saves anything.

    Args:
        alone: ``[rows]`` width of each row if it were alone, in ascending order.
        batch_size: See :func:`padded_widths`.
        most: Positions that keep the bound.
        limit: The most splits.
    """
    widths = _longest(alone, batch_size)
    excess, splits = int(widths.sum()) - most, list[Split]()
    for begin in range(0, len(alone), batch_size):
        _offer(splits, alone, begin, min(begin + batch_size, len(alone)))
    while excess > 0 and splits and limit:
        saving, begin, middle, end = heapq.heappop(splits)
        excess, limit = excess + saving, limit - 1
        widths[begin:middle] = alone[middle - 1]
        _offer(splits, alone, begin, middle)
        _offer(splits, alone, middle, end)
    return widths


def _offer(splits: list[Split], alone: Rows, begin: int, end: int) -> None:
    """Add the best split of the rows ``begin`` to ``end``, if one saves anything."""
    savings = np.arange(1, end - begin) * (alone[end - 1] - alone[begin : end - 1])
    if len(savings) and savings.max() > 0:
        first = int(savings.argmax())
        heapq.heappush(splits, (-int(savings[first]), begin, begin + first + 1, end))
