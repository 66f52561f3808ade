"""Owns the claim: a disk that is full costs one line and no checkpoint, wherever in a run it fills up.

    ./run.sh benchmarks/robustness/full_disk.py
    ./run.sh benchmarks/robustness/full_disk.py --most 20
    ./run.sh benchmarks/robustness/full_disk.py --only pages:31

A tiny run takes place on a disk that holds ``pages:N``, N pages of 4 KiB more than its text, for every N up
to what the run needs; on a disk that holds ``inodes:N``, N files, folders and links more; and on one that
refuses all calls that take room from number N on, ``calls:N``. Each time the run must fail with exit code 1
and one line that names the cause, leave no half-written file, keep all checkpoints whole, and, when there
is room again, resume and end as the undisturbed run did. Disks are tmpfs mounts; where the system does not
permit them, calls alone are refused.
"""

from __future__ import annotations

import argparse
import re
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.robustness.disks import (
    ROOMY,
    Meter,
    Usage,
    disk_usage,
    limit_disk,
    mount_disk,
    refuse_calls,
)
from benchmarks.robustness.forks import answer_of, run_sunfish, scratch_folder, start_sunfish
from benchmarks.robustness.tiny_run import (
    Record,
    TinyRun,
    faults_at_the_end,
    faults_in_between,
    roots_of_new,
    tree_of,
    undisturbed,
)
from benchmarks.robustness.verdicts import error_line, faults_of_ending, kinds_of

WHOLE = TinyRun(steps=6, every=2)
SMOKE = TinyRun(steps=4, every=2, context_length=12)
METHODS = ("pages", "inodes", "calls")
SMOKE_POSITIONS = 1  # of each method
CAUSE = re.compile(r"space|disk|room|full", re.I)
STEP = re.compile(r"step-\d+")


class Position(NamedTuple):
    """Where in a run the disk is full."""

    method: str
    number: int

    def __str__(self) -> str:
        return f"{self.method}:{self.number}"


class FullDisk:
    """A tiny run, to be tried on disks that are too small."""

    def __init__(self, run: TinyRun, folder: Path) -> None:
        """Run it undisturbed, and measure what it takes."""
        self.run, self.disk = run, folder / "disk"
        self.folder = self.disk / "run"
        self.expected: Record = undisturbed(run, self.folder)
        self.mounts = answer_of(partial(_can_mount, self.disk))
        self.usage = Usage(*answer_of(self._measure))

    def positions(self, most: int | None = None) -> list[Position]:
        """Every position, or ``most`` of each method, evenly spread."""
        methods = METHODS if self.mounts else METHODS[-1:]
        found = []
        for method in methods:
            count = getattr(self.usage, method)
            shown = count if most is None else min(most, count)
            found += [Position(method, number * count // shown) for number in range(shown)]
        return found

    def faults(self, position: Position) -> list[str]:
        """What goes wrong where the disk is full at ``position``."""
        faults: list[str] = answer_of(partial(self._try, position))
        return faults

    def _begin(self) -> Usage:
        """Make the run's folder anew, on a disk of its own where that is possible; what that disk holds."""
        if self.mounts:
            mount_disk(self.disk)
        self.run.begin(self.folder)
        return disk_usage(self.disk)

    def _measure(self) -> Usage:
        before, meter = self._begin(), Meter(self.folder)
        start_sunfish(self.run.words(), self.folder, prepare=meter.start).wait()
        peak = meter.usage()
        return Usage(peak.pages - before.pages, peak.inodes - before.inodes, peak.calls)

    def _try(self, position: Position) -> list[str]:
        used, refuse = self._begin(), None
        if position.method == "pages":
            limit_disk(self.disk, Usage(used.pages + position.number, ROOMY[1]))
        elif position.method == "inodes":
            limit_disk(self.disk, Usage(ROOMY[0], used.inodes + position.number))
        else:
            refuse = partial(refuse_calls, self.folder, position.number)
        ended = start_sunfish(self.run.words(), self.folder, prepare=refuse).wait()
        if not ended.code:
            return [f"{fault} (it ended with 0)" for fault in faults_at_the_end(self.folder, self.expected)]
        faults = faults_of_ending(ended)
        if not faults and not CAUSE.search(error_line(ended)):
            faults.append(f"message: it does not name the cause: {error_line(ended)}")
        faults += self._debris()
        faults += answer_of(partial(faults_in_between, self.folder))
        if self.mounts:
            limit_disk(self.disk, Usage(*ROOMY))
        return faults + self._faults_of_resuming()

    def _debris(self) -> list[str]:
        """Files that the undisturbed run has under no step's name."""
        kept = {STEP.sub("step", path) for path in self.expected.tree}
        left = {STEP.sub("step", path) for path in tree_of(self.folder)}
        return [f"debris: {path}" for path in roots_of_new(left, kept)]

    def _faults_of_resuming(self) -> list[str]:
        ended = run_sunfish(self.run.words(), self.folder)
        if ended.code:
            return [f"resume: it ended with {ended.code}: {ended.stderr.strip().rpartition(chr(10))[2]}"]
        return [f"{fault} (after resuming)" for fault in faults_at_the_end(self.folder, self.expected)]


def _can_mount(folder: Path) -> bool:
    try:
        mount_disk(folder)
    except OSError:
        return False
    return True


def parse_position(text: str) -> Position:
    """A position as :class:`Position` writes it."""
    method, _, number = text.partition(":")
    if method not in METHODS or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give pages:N, inodes:N or calls:N")
    return Position(method, int(number))


def measure(run: Run) -> None:
    """Try every position."""
    only: Position | None = run.arguments.only
    with scratch_folder("disk", keep=False) as folder:
        disk = FullDisk(SMOKE if run.smoke else WHOLE, folder)
        run.header(
            torch.float32,
            f"the run takes {disk.usage.pages} pages, {disk.usage.inodes} inodes, {disk.usage.calls} calls",
            "" if disk.mounts else "no tmpfs can be mounted here: calls are refused, and nothing else",
            steps=disk.run.steps,
            every=disk.run.every,
        )
        positions = [only] if only else disk.positions(SMOKE_POSITIONS if run.smoke else run.arguments.most)
        faults: dict[Position, list[str]] = {}
        for position in positions:
            faults[position] = disk.faults(position)
            for fault in faults[position]:
                run.say(f"FAULT {position}: {fault}")
    for method in METHODS:
        tried = [position for position in positions if position.method == method]
        if tried:
            _add(run, method, [faults[position] for position in tried])


def _add(run: Run, method: str, faults: list[list[str]]) -> None:
    kinds = kinds_of(fault for row in faults for fault in set(row))
    figures: dict[str, float | None] = {
        "positions": len(faults),
        "with_faults": sum(bool(row) for row in faults),
        **{kind.replace(" ", "_"): count for kind, count in sorted(kinds.items())},
    }
    run.add({"method": method}, figures)
    run.exit_code |= int(bool(kinds))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How many positions, or which."""
    parser.add_argument(
        "--most", type=int, metavar="N", help="positions of each method, evenly spread; without it, all"
    )
    parser.add_argument(
        "--only", type=parse_position, metavar="METHOD:N", help="one position, such as pages:31"
    )


benchmark = Benchmark(
    "robustness/full_disk",
    __doc__,
    measure,
    claim="a full disk costs one line, no checkpoint and no debris, and the run resumes bit for bit",
    peer="the same run on a disk with room",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
