"""What the words of a command line mean: numbers and texts, each refused in one line. Imports no torch."""

from __future__ import annotations

import math
from typing import Any

from sunfish.config.rules import MAX_INT, shown
from sunfish.utils import UsageError

# Names of files may have any bytes; texts must be Unicode.
PATHS = frozenset(
    (
        *("checkpoint", "teacher_checkpoint", "resume", "checkpoints", "data", "data_folder", "tokenizer"),
        *("prompt_file", "token_file", "run_folder", "file", "folder", "runtime", "load", "out"),
    )
)


def value_of(flag: str, text: str, kind: type, field: str = "") -> Any:
    """The value that ``text`` means.

    Args:
        flag: what the user calls it, for the message.
        text: what the user wrote.
        kind: int, float or str.
        field: the name of the setting, which says whether a text is a path.

    Raises:
        UsageError: for a text that means none.
    """
    word = shown(text)
    if kind is int:
        try:
            number = int(text)
        except ValueError as why:
            raise UsageError(f"{flag} is {word}: give a whole number, such as 1000") from why
        if abs(number) > MAX_INT:
            raise UsageError(f"{flag} is {word}: give a whole number of at most {MAX_INT}")
        return number
    if kind is float:
        try:
            value = float(text)
        except ValueError as why:
            raise UsageError(f"{flag} is {word}: give a number, such as 0.5") from why
        if not math.isfinite(value):
            raise UsageError(f"{flag} is {word}: give a finite number, such as 0.5")
        return value
    if field in PATHS and not text:
        raise UsageError(f"{flag} is empty: give a path")
    if field in PATHS or field == "set":
        return text
    try:  # Python reads the letters of an ASCII locale as bytes, which mean what they mean in UTF-8
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError as why:
        raise UsageError(f"{flag} is {word}, which is not valid UTF-8; write it in a UTF-8 terminal") from why
