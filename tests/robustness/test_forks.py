"""Forked processes: how they end is seen, and what must not happen is called by its name."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

from benchmarks.robustness.forks import Ended, Fork, answer_of
from benchmarks.robustness.verdicts import LONGEST_LINE, faults_of_ending

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are watched on Linux only")


def write(code: int, text: str) -> Callable[[], int]:
    def program() -> int:
        print(text, file=sys.stderr)
        return code

    return program


def fail() -> int:
    raise KeyError("a key")


def test_a_process_hands_back_its_code_and_what_it_printed() -> None:
    assert Fork(lambda: print("text \u2028 é")).wait()[:3] == (0, "text \u2028 é\n", "")
    assert Fork(write(3, "why")).wait()[:3] == (3, "", "why\n")
    assert answer_of(lambda: {"a": [1, os.getpid() != os.getppid()]}) == {"a": [1, True]}
    with pytest.raises(RuntimeError, match="KeyError: 'a key'"):
        answer_of(fail)


@pytest.mark.slow
def test_memory_is_measured_and_limited() -> None:
    assert Fork(lambda: print(len(b"x" * 2**29))).wait().grown_bytes > 2**28
    assert Fork(lambda: print(len(b"x" * 2**30)), spare_bytes=2**28).wait().stderr.endswith("MemoryError\n")


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        (write(0, "a note"), ""),
        pytest.param(write(1, "a note\nerror: a line"), "", marks=pytest.mark.slow),
        pytest.param(write(2, "error: a line"), "", marks=pytest.mark.slow),
        (write(1, "no such line"), "message: 0 lines"),
        pytest.param(write(1, "error: one\nerror: two"), "message: 2 lines", marks=pytest.mark.slow),
        pytest.param(write(1, "error: one\nand more"), "message: 1 lines", marks=pytest.mark.slow),
        (write(1, "error: " + "x" * LONGEST_LINE), f"message: {LONGEST_LINE + 7} characters"),
        (write(3, "error: a line"), "exit code: 3"),
        (write(0, "file.py:3: UserWarning: careful"), "warning: file.py:3"),
        (fail, "traceback: KeyError: 'a key'"),
        (lambda: os.kill(os.getpid(), signal.SIGUSR2), "crash: SIGUSR2"),
        (lambda: time.sleep(60), "hang"),
    ],
)
def test_a_bad_ending_is_named(program: Callable[[], int | None], fault: str) -> None:
    faults = faults_of_ending(Fork(program).wait(seconds=0.2 if fault == "hang" else 60))
    assert len(faults) == bool(fault) and all(text.startswith(fault) for text in faults)


def test_what_a_hung_process_started_ends_with_it() -> None:
    reader, writer = os.pipe()

    def program() -> None:
        if os.fork():
            time.sleep(60)
        time.sleep(60)

    ended = Fork(program).wait(seconds=0.2)
    os.close(writer)
    assert ended == Ended(-signal.SIGKILL, "", "", ended.grown_bytes, hung=True)
    assert os.read(reader, 1) == b""  # nobody holds the other end any more
    os.close(reader)
