"""Small things that every floor uses: wrong use, words for bytes and seconds, lines on stderr, extras."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

GIB = 2**30
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed


class UsageError(ValueError):
    """A value that cannot be right, whatever the machine and the files; the command line exits with 2."""


def format_bytes(size: float) -> str:
    """Bytes in words."""
    return f"{size / 2**20:,.0f} MiB" if size < GIB else f"{size / GIB:,.1f} GiB"


def format_duration(seconds: float) -> str:
    """Seconds in words: 45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Stderr(io.TextIOBase):
    """``sys.stderr`` as it is at each moment. Writing never fails: work does not end because its log does.

    Attributes:
        reader_left: Whether the reader of a pipe has left, which ends other programs by SIGPIPE.
        silent: Whether another process of the run writes the log.
        speaker: What each line of the log begins with.
    """

    reader_left: ClassVar[bool] = False
    silent: ClassVar[bool] = False
    speaker: ClassVar[str] = ""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to ``stream``, whatever takes the place of ``sys.stderr``, or else to that."""
        self._fixed = stream

    @property
    def _stream(self) -> TextIO | None:
        return self._fixed or sys.stderr  # None: the program was started without

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What rich draws its lines with."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write and flush ``text`` if anybody can read it."""
        try:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except OSError as why:  # the reader left, the terminal closed, the disk is full
            Stderr.reader_left |= isinstance(why, BrokenPipeError)
            self._drop_what_follows()
        except (ValueError, RuntimeError):  # a closed stream; a signal handler inside another write
            pass
        return len(text)

    def isatty(self) -> bool:
        """Whether stderr is a terminal."""
        with suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def live_console(self) -> Console | None:
        """A console for lines that move in place; None where stderr cannot show them."""
        environment = os.environ.get
        if not self.isatty() or environment("TERM", "") in ("", "dumb", "unknown"):
            return None
        if "0" in (environment("COLUMNS"), environment("LINES")):  # a size that rich would believe
            return None
        from rich.console import Console

        # rich puts an object of its own in the place of sys.stderr, which prints other lines above a live one.
        file = cast(IO[str], Stderr(sys.stderr))
        return Console(file=file, force_terminal=True, force_jupyter=False, highlight=False, emoji=False)

    def _drop_what_follows(self) -> None:
        """Point the file descriptor to nowhere; Python would try the unwritten rest again when it exits."""
        with suppress(OSError, ValueError, AttributeError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), cast(TextIO, self._stream).fileno())


stderr = Stderr()


def log(text: str) -> None:
    """Print one line for the person in front of the screen, on stderr."""
    if not Stderr.silent:
        stderr.write(Stderr.speaker + (visible(text) if stderr.isatty() else text) + "\n")


def visible(text: str) -> str:
    """``text`` with its control characters as escapes such as ``\\x1b``, which no terminal obeys."""
    return CONTROLS.sub(lambda control: f"\\x{ord(control[0]):02x}", text)


def open_standard_streams() -> None:
    """Open what was closed of stdin, stdout and stderr; a file opened next would receive their output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    import hashlib  # loads OpenSSL, which --help can do without

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def how_to_install(extra: str) -> str:
    """The command that adds ``extra`` of pyproject.toml, in the project's folder.

    By its folder and not by its name: the package index has another project of this name.
    """
    return f"./run.sh -m pip install -e '.[{extra}]'"


def first_line(error: BaseException) -> str:
    """The first line of an error of a library, which may have a stack below it; its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
