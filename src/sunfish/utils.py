"""Small things that every floor uses: wrong use, words for bytes and seconds, a line on stderr, extras."""

from __future__ import annotations

import sys
from pathlib import Path

GIB = 2**30


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


def log(text: str) -> None:
    """Print one line for the person in front of the screen, on stderr."""
    print(text, file=sys.stderr, flush=True)


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
