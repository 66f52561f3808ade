"""Owns arrays that stay on the disk: mapped into memory, and unmapped again before they fill it."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Index: TypeAlias = int | slice | NDArray[np.int64]

PAGES_READ = 2**16  # bytes that the system maps around one that is read
READS_KEPT = 32  # reads of so many places; each may map 2 MiB where the system's cache has large pages


class MappedArray:
    """A flat array in a file. What is read from it is copied.

    The pages that a process has read of a mapped file count as its resident memory until the system needs them
    elsewhere. An epoch reads all of a corpus, so they are given back every ``READS_KEPT`` reads; the system's cache of
    the file keeps them as long as there is room.
    """

    def __init__(self, path: Path, dtype: str, count: int, offset: int = 0) -> None:
        """Map the file.

        Args:
            path: The file.
            dtype: Of its numbers.
            count: How many there are.
            offset: Bytes before the first one.
        """
        self._numbers: NDArray[Any] = np.empty(0, dtype)
        self._pages: mmap.mmap | None = None
        self._reads = 0
        if count:
            with path.open("rb") as file:
                self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._numbers = np.frombuffer(self._pages, dtype, count, offset)
            if hasattr(mmap, "MADV_RANDOM"):
                self._pages.madvise(
                    mmap.MADV_RANDOM
                )  # rows come in random order: what follows one is not needed

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """The numbers at ``index``, ``[n]``, or one number."""
        if isinstance(index, np.ndarray):
            numbers = np.empty(index.shape, self._numbers.dtype)
            for first in range(0, index.size, READS_KEPT):
                part = slice(first, first + READS_KEPT)
                numbers.flat[part] = self._numbers[index.flat[part]]
                self._give_back()
            return numbers
        numbers = np.array(self._numbers[index])
        self._reads += 1 + numbers.nbytes // PAGES_READ
        if self._reads >= READS_KEPT:
            self._give_back()
        return numbers

    def _give_back(self) -> None:
        self._reads = 0
        if self._pages is not None and hasattr(mmap, "MADV_DONTNEED"):  # Windows does so by itself
            self._pages.madvise(mmap.MADV_DONTNEED)


class RowLengths:
    """How many ids each row has, by the places where rows begin.

    Attributes:
        longest: Ids of the longest row.
    """

    def __init__(self, offsets: MappedArray, longest: int) -> None:
        self._offsets, self.longest = offsets, longest

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of some rows: ``[:]`` for all of them, which takes memory for each."""
        numbers = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        return np.asarray(self._offsets[numbers + 1] - self._offsets[numbers], np.int64)

    def sum(self) -> int:
        """Ids of all rows."""
        return int(self._offsets[-1])

    def mean(self) -> float:
        """Ids of a row on average."""
        return self.sum() / len(self)

    def max(self) -> int:
        """Ids of the longest row."""
        return self.longest
