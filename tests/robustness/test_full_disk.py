"""A disk that fills up: one line, no debris, whole checkpoints, and a run that resumes when there is room."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks.robustness.disks import Meter, Usage, limit_disk, mount_disk, refuse_calls
from benchmarks.robustness.forks import Fork, answer_of
from benchmarks.robustness.full_disk import METHODS, SMOKE, FullDisk, Position, parse_position

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tmpfs and forks are of Linux")
POSITIONS = 9


@pytest.mark.slow
def test_a_full_disk_costs_one_line_and_no_checkpoint(tmp_path: Path) -> None:
    disk = FullDisk(SMOKE, tmp_path)
    positions = disk.positions(POSITIONS // (len(METHODS) if disk.mounts else 1))
    found = {str(position): disk.faults(position) for position in positions}
    assert len(positions) == POSITIONS
    assert {position: faults for position, faults in found.items() if faults} == {}


def write_until_full(folder: Path) -> list[int | str]:
    """Make files of a page each until that fails; how many there are, and the error's name."""
    count = 0
    try:
        while count < 1000:
            (folder / f"file-{count}").write_bytes(bytes(os.sysconf("SC_PAGESIZE")))
            count += 1
    except OSError as why:
        return [count, errno.errorcode[why.errno or 0]]
    return [count, ""]


@pytest.mark.parametrize(("limit", "count"), [(Usage(3, 1000), 3), (Usage(1000, 6), 5)])
def test_a_small_disk_is_full_when_it_should_be(tmp_path: Path, limit: Usage, count: int) -> None:
    def program() -> list[int | str]:
        try:
            mount_disk(tmp_path)
        except OSError:
            return []
        limit_disk(tmp_path, limit)
        return write_until_full(tmp_path)

    answer = answer_of(program)
    if not answer:
        pytest.skip("no tmpfs can be mounted here")
    assert answer == [count, "ENOSPC"] and not list(tmp_path.iterdir())  # another process does not see it


@pytest.mark.slow
def test_calls_are_counted_and_refused(tmp_path: Path) -> None:
    def program() -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "file").write_text("text")
        (tmp_path / "a" / "file").rename(tmp_path / "b")
        (tmp_path / "b").read_text()
        (tmp_path / "link").symlink_to("b")
        with (tmp_path / "b").open("ab") as file:
            os.fsync(file.fileno())

    meter = Meter(tmp_path)

    def measured() -> None:
        meter.start()
        program()

    assert Fork(measured).wait().code == 0
    assert meter.usage().calls == 6
    for path in (tmp_path / "link", tmp_path / "b"):
        path.unlink()
    (tmp_path / "a").rmdir()

    def refused(first: int) -> int:
        refuse_calls(tmp_path, first)
        try:
            program()
        except OSError as why:
            return why.errno or 0
        return 0

    for first in range(7):
        assert Fork(partial(refused, first)).wait().code == (errno.ENOSPC if first < 6 else 0)
        for path in sorted(tmp_path.iterdir()):
            path.unlink() if path.is_symlink() or path.is_file() else os.system(f"rm -r '{path}'")


def test_a_position_is_read_as_it_is_written() -> None:
    assert parse_position(str(Position("inodes", 7))) == Position("inodes", 7)
    for text in ("inodes", "inodes:", "inodes:x", "blocks:3", "pages:-1"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_position(text)
