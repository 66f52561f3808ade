"""Rules that several groups of settings share. Each error names the setting, its value and the remedy."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from sunfish.utils import UsageError


def check_at_least(settings: object, least: float, *names: str) -> None:
    """Refuse every attribute in ``names`` of ``settings`` that is not a finite number of at least ``least``.

    Raises:
        UsageError: for the first such attribute.
    """
    for name in names:
        value = getattr(settings, name)
        if not least <= value < math.inf:
            raise UsageError(f"{name} is {value}, but it must be at least {least:g}")


def check_at_most(settings: object, most: float, *names: str) -> None:
    """Refuse every attribute in ``names`` of ``settings`` above ``most``, which no memory could hold.

    Raises:
        UsageError: for the first such attribute.
    """
    for name in names:
        value = getattr(settings, name)
        if value > most:
            raise UsageError(f"{name} is {value}, but it must be at most {most:,}")


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
