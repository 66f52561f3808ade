"""Reads the arrays of a prepared folder: nothing is unpickled, and nothing allocated before its size is known."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from sunfish.data.manifest import REMEDY
from sunfish.data.mapped import MappedArray, RowLengths
from sunfish.utils import first_line

NUMBERS_READ = 2**20  # at a time, where all of them are looked at


def read_offsets(path: Path, rows: int, shortest: int, longest: int) -> tuple[MappedArray, RowLengths]:
    """Where each row begins, and where the last one ends.

    Args:
        path: The file, written by ``np.save``.
        rows: Number of rows.
        shortest: Ids of a row at least.
        longest: Ids of a row at most.

    Returns:
        ``[rows + 1]``, and the lengths that they make, ``[rows]``.

    Raises:
        ValueError: The file holds anything else.
    """
    offsets = read_array(path, "int64", rows + 1)
    least, most = longest, 0
    for first in range(0, rows, NUMBERS_READ):
        lengths = np.diff(offsets[first : first + NUMBERS_READ + 1])
        least, most = min(least, int(lengths.min())), max(most, int(lengths.max()))
    if offsets[0] != 0 or not rows or least < shortest or most > longest:
        raise ValueError(f"{path} is damaged (its rows do not have {shortest} to {longest} ids); {REMEDY}")
    return offsets, RowLengths(offsets, most)


def read_array(path: Path, dtype: str, count: int) -> MappedArray:
    """The array of a file, mapped into memory.

    Args:
        path: The file, written by ``np.save``.
        dtype: Of its numbers.
        count: How many there are.

    Returns:
        ``[count]``.

    Raises:
        ValueError: The file holds anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as why:  # a damaged header ends in ValueError, SyntaxError, TokenError and others
        reason = first_line(why)
        raise ValueError(f"{path} is damaged ({reason:.80}); {REMEDY}") from why
    if not isinstance(array, np.memmap) or array.dtype != dtype or array.shape != (count,):
        raise ValueError(f"{path} is damaged (it is no array of {count} {dtype} numbers); {REMEDY}")
    return MappedArray(path, dtype, count, array.offset)


def map_ids(path: Path, dtype: str, count: int, size: int) -> MappedArray:
    """The ids of a file, mapped into memory.

    Args:
        path: The file, plain numbers.
        dtype: ``uint16`` or ``uint32``.
        count: How many ids there are.
        size: Of the vocabulary.

    Returns:
        ``[count]``.

    Raises:
        ValueError: There are more or fewer, or one of them is not below ``size``.
    """
    if path.stat().st_size != count * np.dtype(dtype).itemsize:
        raise ValueError(f"{path} does not hold the {count} ids that its offsets say; {REMEDY}")
    with path.open("rb") as file:
        while len(ids := np.fromfile(file, dtype, NUMBERS_READ)):
            if ids.max() >= size:
                raise ValueError(f"{path} is damaged (id {ids.max()} of a vocabulary of {size}); {REMEDY}")
    return MappedArray(path, dtype, count)
