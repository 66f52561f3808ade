"""stderr: writing never fails, and a live line needs a terminal that can show one."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sunfish.training.logger import Logger
from sunfish.utils import Stderr, file_sha256, format_bytes, format_duration, log, stderr
from tests.conftest import python


class Terminal:
    """A stderr that says whether it is a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.mark.parametrize(
    ("environment", "is_terminal", "lives"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "40"}, True, True),
        ({"TERM": "xterm", "COLUMNS": "0"}, True, False),
        ({"TERM": "xterm", "LINES": "0"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": ""}, True, False),
        ({}, True, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}, False, False),
    ],
)
def test_a_live_line_needs_a_terminal(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_terminal: bool, lives: bool
) -> None:
    for name in ("TERM", "NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", Terminal(is_terminal))
    console = stderr.live_console()
    assert (console is not None) == lives
    assert console is None or console.width > 0


@pytest.mark.parametrize("closed", [None, "stream"])
def test_a_stderr_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch, closed: str | None) -> None:
    stream = None
    if closed:
        stream = open(os.devnull, "w")  # noqa: SIM115
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    silent = Stderr()
    assert silent.write("words") == 5 and not silent.isatty() and silent.encoding
    assert not silent.reader_left


def test_lines_come_above_a_live_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real terminal, from wherever they are printed."""
    master, slave = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        logger = Logger(tmp_path, (), {})
        logger.progress(1, 0.5, {"tokens_per_second": 9.0}, "1 s")
        logger.log("from the run: :runner: [bold]")
        log("from elsewhere")
        logger.close()
        assert sys.stderr is terminal
        os.set_blocking(master, False)
        content = b""
        with suppress(BlockingIOError):  # a read gives no more than 4 KiB
            while True:
                content += os.read(master, 4096)
    os.close(master)
    seen = content.decode()
    assert "step 1" in seen and "from the run: :runner: [bold]" in seen and "from elsewhere" in seen


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "from sunfish.utils import open_standard_streams\nopen_standard_streams()\n"
        f"print(open({str(tmp_path / 'file')!r}, 'w').fileno(), file=open({str(tmp_path / 'number')!r}, 'w'))"
    )
    subprocess.run(["bash", "-c", f'"{sys.executable}" -c "$0" <&- >&- 2>&-', code], check=True)
    assert int((tmp_path / "number").read_text()) > 2


def test_the_exit_code_is_that_of_the_program_when_the_reader_leaves() -> None:
    """Python would exit with 120 because of the unwritten rest."""
    code = (
        "import os, sys\nfrom sunfish.utils import log, stderr\nreader, writer = os.pipe()\n"
        "os.dup2(writer, 2)\nos.close(reader)\nlog('words')\nlog('more')\nsys.exit(7 if stderr.reader_left else 1)"
    )
    assert python("-c", code).returncode == 7


@pytest.mark.parametrize(
    "size, words",
    [
        (0, "0 MiB"),
        (2**20, "1 MiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (2**30, "1.0 GiB"),
        (2**30 - 2**20, "1,023 MiB"),
        (1234.5 * 2**30, "1,234.5 GiB"),
    ],
)
def test_bytes_in_words(size: float, words: str) -> None:
    assert format_bytes(size) == words


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0.4, "0 s"),
        (45, "45 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (12240, "3.4 h"),
    ],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def is_nowhere(descriptor: int) -> bool:
    return os.fstat(descriptor).st_rdev == os.stat(os.devnull).st_rdev


def test_what_follows_a_reader_that_left_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest that is still in the buffer too: closing the stream writes it."""
    monkeypatch.setattr(Stderr, "reader_left", False)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        broken = Stderr(stream)
        assert broken.write("read") == 4 and os.read(reader, 9) == b"read" and not is_nowhere(writer)
        os.close(reader)
        assert broken.write("words") == 5 and Stderr.reader_left and is_nowhere(writer)
        assert broken.write("more") == 4


def test_a_full_disk_is_no_reader_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stderr, "reader_left", False)
    with open("/dev/full", "w") as stream:
        assert Stderr(stream).write("words") == 5
        assert is_nowhere(stream.fileno()) and not Stderr.reader_left
