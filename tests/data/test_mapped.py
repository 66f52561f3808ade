"""Arrays on the disk: what is read is what was written, and what was read does not stay resident."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from sunfish.data.mapped import MappedArray, RowLengths


def mapped(path: Path, numbers: np.ndarray, offset: int = 0) -> MappedArray:
    path.write_bytes(b"\xff" * offset + numbers.tobytes())
    return MappedArray(path, numbers.dtype.str, len(numbers), offset)


@pytest.mark.parametrize("offset", [0, 128])
def test_numbers_are_read_by_place_range_and_list(tmp_path: Path, offset: int) -> None:
    numbers = np.random.default_rng(0).integers(0, 60_000, 5000).astype(np.uint16)
    array = mapped(tmp_path / "x", numbers, offset)
    places = np.array([4999, 0, 7, 7])
    assert len(array) == 5000 and array[-1] == numbers[-1]
    for _ in range(300):  # pages are given back in between
        assert array[places].tolist() == numbers[places].tolist()
        assert array[17:30].tolist() == numbers[17:30].tolist()
    assert array[:].tolist() == numbers.tolist()


def test_a_file_without_numbers_is_no_error(tmp_path: Path) -> None:
    array = mapped(tmp_path / "x", np.empty(0, np.uint16))
    assert len(array) == 0 and array[0:0].tolist() == []


def test_lengths_follow_from_the_places_where_rows_begin(tmp_path: Path) -> None:
    lengths = np.array([3, 1, 9, 2])
    offsets = mapped(tmp_path / "x", np.concatenate([[0], lengths.cumsum()]))
    rows = RowLengths(offsets, 9)
    assert len(rows) == 4 and rows[:].tolist() == lengths.tolist() and rows[1:3].tolist() == [1, 9]
    assert rows[np.array([[3, 0], [2, 2]])].tolist() == [[2, 3], [9, 9]]
    assert (rows.sum(), rows.mean(), rows.max()) == (15, 3.75, 9)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_read_does_not_stay_resident(tmp_path: Path) -> None:
    """All of 48 MiB in random order, once in ranges and once in lists of places."""
    path, size, step = tmp_path / "large", 48 * 2**20, 8192
    with path.open("wb") as file:
        file.truncate(size)
    array, order = MappedArray(path, "uint8", size), np.random.default_rng(0).permutation(size // step)
    most = 0
    for number, page in enumerate(order):
        array[page * step : page * step + 200]
        array[order[number : number + 8] * step]
        if number % 1500 == 749:
            most = max(most, resident(path))
    assert most < 20 * 2**20  # else all of it would be resident in the end


def resident(path: Path) -> int:
    """Bytes of a mapped file that count as memory of this process."""
    text = Path("/proc/self/smaps").read_text()
    entry = re.search(rf"{re.escape(str(path))}\n(?:.*\n)*?Rss: +(\d+) kB", text)
    assert entry is not None
    return int(entry[1]) * 1024
