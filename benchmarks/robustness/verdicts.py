"""Owns what an ending may look like: done, or one line that says what is wrong. A fault is "KIND: what"."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable

from benchmarks.robustness.forks import Ended

LONGEST_LINE = 700  # characters of an error
FAILURES = (1, 2)  # exit codes of a failure and of wrong use
WARNING = "Warning: "  # of a library, such as UserWarning
SHOWN = 160  # characters of what is wrong


def faults_of_ending(ended: Ended) -> list[str]:
    """What is wrong with the way in which a process ended; nothing where it is done or failed in one line."""
    if ended.hung:
        return ["hang: it did not end"]
    if ended.code < 0:
        return [f"crash: {signal.Signals(-ended.code).name}: {_last_line(ended.stderr)}"]
    if "Traceback (most recent call last)" in ended.stderr:
        return [f"traceback: {_last_line(ended.stderr)}"]
    if warnings := [line for line in ended.stderr.splitlines() if WARNING in line]:
        return [f"warning: {warnings[0][:SHOWN]}"]
    if not ended.code:
        return []
    if ended.code not in FAILURES:
        return [f"exit code: {ended.code}: {_last_line(ended.stderr)}"]
    lines = ended.stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if len(errors) != 1 or lines[-1] != errors[0]:
        return [f"message: {len(errors)} lines of error, and in the end: {_last_line(ended.stderr)}"]
    if len(errors[0]) > LONGEST_LINE:
        return [f"message: {len(errors[0])} characters: {errors[0][:SHOWN]}"]
    return []


def error_line(ended: Ended) -> str:
    """The error that it printed, "" for none."""
    line = ended.stderr.strip().rpartition("\n")[2]
    return line if line.startswith("error: ") else ""


def kinds_of(faults: Iterable[str]) -> Counter[str]:
    """How many faults of each kind there are."""
    return Counter(fault.partition(":")[0] for fault in faults)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2][:SHOWN]
