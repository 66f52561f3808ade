"""Rules that several groups of settings share. Each error names the setting, its value and the remedy."""

from __future__ import annotations

import difflib
import functools
import math
import os
import reprlib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from sunfish.utils import UsageError

MAX_INT = 2**63 - 1  # what NumPy and PyTorch take
KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
SHOWN = 80  # characters of a value in a message


class _WrongType(Exception):
    """A value is not of the type of its setting; says what is wanted."""


def check_types(settings: Any) -> None:
    """Refuse every field of the dataclass instance ``settings`` whose value is not of the annotated type.

    A value that says the same in another type is replaced: a number of NumPy, a list for a tuple, a whole number for a
    float, a path for a string. So a configuration is plain data and equals its stored form.

    Raises:
        UsageError: for the first such field.
    """
    for name, kind in _types(settings.__class__).items():
        value = getattr(settings, name)
        try:
            plain = as_type(kind, value)
        except _WrongType as wanted:
            default = getattr(type(settings), name, None)
            example = "" if default in (None, "", ()) else f", such as {default!r}"
            raise UsageError(f"{name} is {shown(value)}; give {wanted}{example}") from None
        if plain is not value:
            object.__setattr__(settings, name, plain)  # the only way to set a field of a frozen dataclass


def as_type(kind: Any, value: Any) -> Any:
    """``value`` as the type ``kind`` that an annotation names.

    Raises:
        _WrongType: it is of another type, or a number that is too large. NaN is left to the setting's own rule.
    """
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, (tuple, list)):
            raise _WrongType("a tuple of values")
        kinds = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        if len(kinds) != len(value):
            raise _WrongType(f"tuples of {len(kinds)} values")
        plain = tuple(as_type(*pair) for pair in zip(kinds, value, strict=True))
        return value if isinstance(value, tuple) and all(map(_is, plain, value)) else plain
    if is_dataclass(kind):
        if not isinstance(value, kind):  # type: ignore[arg-type]
            raise _WrongType(f"a {kind.__name__}")  # type: ignore[union-attr]
        return value
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # a number of NumPy or PyTorch
    if kind is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise _WrongType("a finite number") from None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _WrongType(KINDS[kind])
    if kind is int and abs(value) > MAX_INT:
        raise _WrongType(f"a whole number of at most {MAX_INT}")
    return value


def check_at_least(settings: object, least: float, *names: str, most: float = math.inf) -> None:
    """Refuse every attribute in ``names`` of ``settings`` that is not a finite number from ``least`` to ``most``.

    Raises:
        UsageError: for the first such attribute.
    """
    for name in names:
        check_number(name, getattr(settings, name), least, most)


def check_number(name: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuse the ``value`` of ``name`` where it is not a finite number from ``least`` to ``most``.

    Raises:
        UsageError: names both.
    """
    if not least <= value < math.inf:
        finite = "" if math.isfinite(value) else "a finite number of "
        raise UsageError(f"{name} is {shown(value)}, but it must be {finite}at least {least:g}")
    if value > most:
        raise UsageError(f"{name} is {shown(value)}, but it must be at most {most:,}")


def whole_number(name: str, value: Any, least: float, most: int = MAX_INT) -> int:
    """The argument ``name`` of a call as a Python number.

    Raises:
        UsageError: it is no whole number from ``least`` to ``most``.
    """
    try:
        number: int = as_type(int, value)
    except _WrongType as wanted:
        raise UsageError(f"{name} is {shown(value)}; give {wanted}") from None
    check_number(name, number, least, most)
    return number


def check_share(settings: object, *names: str) -> None:
    """Refuse every attribute in ``names`` of ``settings`` that does not lie between 0 and 1.

    Raises:
        UsageError: for the first such attribute.
    """
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value <= 1:
            raise UsageError(f"{name} is {value}, but it must lie between 0 and 1")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean NAME?`` for the known name that is nearest to ``word``; empty where none is near."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def shown(value: object, longest: int = SHOWN) -> str:
    """``value`` as an error shows it: one line without its middle where it is longer than ``longest``."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = longest
    try:
        return short.repr(value)
    except Exception:  # whatever a foreign object's repr raises; Python refuses to print very long numbers
        return f"a value of type {type(value).__name__} that cannot be shown"


def _is(one: object, other: object) -> bool:
    return one is other


@functools.cache
def _types(settings: type) -> dict[str, Any]:
    hints = get_type_hints(settings)
    return {field.name: hints[field.name] for field in fields(settings)}
