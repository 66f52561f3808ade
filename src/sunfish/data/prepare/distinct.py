"""Counts distinct documents by their hashes, however many there are, in constant memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HASHES_HELD = 2**22  # of a split, about, at a time
HASHES_READ = 2**18  # at a time


def count_distinct(train: Path, validation: Path) -> tuple[int, int, int]:
    """How many documents of two splits differ.

    The files are read once for each range of hashes, so narrow that its hashes fit in memory.

    Args:
        train: Plain uint64 hashes, one for each document.
        validation: The same of the other split.

    Returns:
        Distinct hashes of each split, and those that are in the two of them.
    """
    parts = 1 + max(path.stat().st_size for path in (train, validation)) // (8 * HASHES_HELD)
    totals = np.zeros(3, np.int64)
    for part in range(parts):
        first, last = (part * 2**64 // parts, (part + 1) * 2**64 // parts - 1)
        of_train, of_validation = (_between(path, first, last) for path in (train, validation))
        shared = np.intersect1d(of_train, of_validation, assume_unique=True)
        totals += (len(of_train), len(of_validation), len(shared))
    return int(totals[0]), int(totals[1]), int(totals[2])


def _between(path: Path, first: int, last: int) -> NDArray[np.uint64]:
    """The distinct hashes of a file from ``first`` to ``last``, sorted."""
    kept = [np.empty(0, np.uint64)]
    with path.open("rb") as file:
        while len(hashes := np.fromfile(file, np.uint64, HASHES_READ)):
            inside = (hashes >= np.uint64(first)) & (hashes <= np.uint64(last))
            kept.append(np.unique(hashes[inside]))  # one text a million times is one number
    return np.unique(np.concatenate(kept))
