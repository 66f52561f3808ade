"""Owns what a reader yields: records, things that are no record, and words about the ones that were mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sunfish.text_files import MARK, SURROGATE

NO_UTF8 = "text is no valid UTF-8"


class BadRecord(NamedTuple):
    """Something that is no record, and why."""

    reason: str


class Note(NamedTuple):
    """Words about the record that follows, which is read all the same."""

    reason: str


# Plain text, or fields, or neither.
Record = str | dict[str, Any] | BadRecord | Note
# Reads a file, streaming; yields the number of a line, and the record that begins there.
Reader = Callable[[Path], Iterator[tuple[int, Record]]]


def damage(text: str) -> str | None:
    """Why ``text`` cannot be trained on, or None."""
    if SURROGATE.search(text):
        return NO_UTF8
    return "text has NUL characters" if "\0" in text else None


def stripped(text: str) -> str:
    """``text`` without the white space around it, and without a byte order mark before it."""
    return text.strip().lstrip(MARK).strip()
