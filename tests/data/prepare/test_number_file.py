"""Files of numbers that grow: the bytes are those that NumPy writes at once."""

from __future__ import annotations

import io
from array import array
from pathlib import Path

import numpy as np
import pytest

from sunfish.data.prepare.number_file import NumberFile
from sunfish.disk.writing import WriteError
from tests.limits import largest_file


@pytest.mark.parametrize("sizes", [[], [0], [1], [3, 0, 7], [10] * 1000])
def test_an_array_in_pieces_is_the_file_of_the_whole(tmp_path: Path, sizes: list[int]) -> None:
    numbers = np.arange(sum(sizes), dtype=np.int64) - 5
    file = NumberFile(tmp_path / "x.npy", "int64")
    for size in sizes:
        file.append(numbers[file.count : file.count + size])
    file.finish()
    whole = io.BytesIO()
    np.save(whole, numbers)
    assert file.path.read_bytes() == whole.getvalue() and file.count == len(numbers)


def test_plain_numbers_take_the_type_of_the_file(tmp_path: Path) -> None:
    file = NumberFile(tmp_path / "x.bin", "uint16")
    file.append(array("I", [1, 65_535]))
    file.append([2])
    file.finish()
    assert file.path.read_bytes() == b"\x01\x00\xff\xff\x02\x00"


@pytest.mark.parametrize("limit", [0, 200])
def test_a_full_disk_is_named(tmp_path: Path, limit: int) -> None:
    with pytest.raises(WriteError, match=r"x\.npy could not be written: file too large"), largest_file(limit):
        file = NumberFile(tmp_path / "x.npy", "int64")
        file.append(range(100))
