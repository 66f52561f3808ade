"""Owns what a file holds: records, things that are no record, and bytes that are no UTF-8.

Bytes that are no UTF-8 are read as lone surrogates ("surrogateescape"), so that one bad byte costs one
document and not the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

SURROGATE = re.compile("[\ud800-\udfff]")


class BadRecord(NamedTuple):
    """Something that is no record, and why."""

    reason: str


# Plain text, or fields, or neither.
Record = str | dict[str, Any] | BadRecord
# Reads a file, streaming; yields the number of a line, and the record that begins there.
Reader = Callable[[Path], Iterator[tuple[int, Record]]]


def is_valid_unicode(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8: it has no lone surrogates."""
    return SURROGATE.search(text) is None


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """Open a text file as UTF-8, with or without a byte order mark; bad bytes become lone surrogates."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)
