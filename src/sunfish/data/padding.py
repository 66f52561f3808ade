"""How far the rows of a batch are padded, so that at most one position in 20 is padding.

The bound holds for every window of batches, whatever the lengths of its rows and however few they are:

1. Where multiples of 8 keep it, all rows of a batch are padded as far as its longest one, to a multiple of 8. Few
   widths mean few shapes of matrix products, for each of which a bfloat16 product compiles kernels
   (docs/experiments/2026-11-memory-and-time.md).
2. Else a width is a multiple of m, the largest of 1, 2, 4 and 8 with 19 (m - 1) <= length. Batches are then split
   into parts of similar lengths, each padded as far as its longest row. The split that saves most positions of all
   batches comes first, and the splitting ends as soon as the window keeps the bound.

It always ends: when nothing more can be saved, each row is as wide as if it were alone. It then has p <= m - 1
positions of padding, so 19 p <= length, which is 20 p <= length + p: at most one in 20. A union of windows that
keep the bound keeps it too. The batches of a window that is not finished may be above it.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]  # one number for each row

ROW_MULTIPLES = (8, 4, 2)
ONE_IN = 20  # positions, of which one may be padding


def padded_widths(lengths: Rows, batch_size: int, context_length: int) -> Rows:
    """How wide each row is padded; rows of one batch that have equal widths are computed together.

    Args:
        lengths: ``[rows]`` positions of each row, in ascending order.
        batch_size: So many rows after one another are a batch; the last batch may have fewer.
        context_length: No row is longer.

    Returns:
        ``[rows]``, in ascending order within each batch.
    """
    most = int(lengths.sum()) * ONE_IN // (ONE_IN - 1)  # positions that keep the bound
    begins = np.arange(0, len(lengths), batch_size)
    ends = np.append(begins[1:], len(lengths))
    single = np.full_like(lengths, ROW_MULTIPLES[0])
    widths = np.repeat(_rounded(lengths, single, context_length)[ends - 1], ends - begins)
    if widths.sum() <= most:
        return widths
    alone = _rounded(lengths, row_multiple(lengths), context_length)
    widths = np.repeat(alone[ends - 1], ends - begins)
    excess = int(widths.sum()) - most
    splits: list[tuple[int, int, int, int]] = []  # minus the positions saved, then begin, middle and end
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        _offer(splits, alone, begin, end)
    while excess > 0:
        saving, begin, middle, end = heapq.heappop(splits)
        excess += saving
        widths[begin:middle] = alone[middle - 1]
        _offer(splits, alone, begin, middle)
        _offer(splits, alone, middle, end)
    return widths


def row_multiple(lengths: Rows) -> Rows:
    """The multiple to which each row alone is padded: the largest that pads at most one position in ``ONE_IN``."""
    able = [(ONE_IN - 1) * (multiple - 1) <= lengths for multiple in ROW_MULTIPLES]
    multiples: Rows = np.select(able, ROW_MULTIPLES, 1)
    return multiples


def _rounded(lengths: Rows, multiples: Rows, context_length: int) -> Rows:
    widths: Rows = np.minimum(-(-lengths // multiples) * multiples, context_length)
    return widths


def _offer(splits: list[tuple[int, int, int, int]], alone: Rows, begin: int, end: int) -> None:
    """Add the best split of the rows ``begin`` to ``end``, if one saves anything."""
    savings = np.arange(1, end - begin) * (alone[end - 1] - alone[begin : end - 1])
    if len(savings) and savings.max() > 0:
        first = int(savings.argmax())
        heapq.heappush(splits, (-int(savings[first]), begin, begin + first + 1, end))
