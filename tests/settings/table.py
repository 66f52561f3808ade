"""The rows of the table of settings: which test covers which field or argument, and a way to watch a call."""

from __future__ import annotations

import ast
import functools
import inspect
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.syntax import parsed

Test = TypeVar("Test", bound=Callable[..., None])
Call = dict[str, Any]  # an argument's name and its value


def names_of(owner: Callable[..., Any]) -> set[str]:
    """The fields of a configuration class, or the arguments of a function or of a class."""
    return set(inspect.signature(owner).parameters) - {"self"}


def covers(owner: Callable[..., Any], *names: str) -> Callable[[Test], Test]:
    """Mark a test as the row of ``names``, which are fields or arguments of ``owner``.

    Raises:
        ValueError: ``owner`` has no such name.
    """
    if unknown := set(names) - names_of(owner):
        raise ValueError(f"{owner.__qualname__} has no {', '.join(sorted(unknown))}; rename the row")
    return lambda test: test


@functools.cache
def rows(folder: Path) -> dict[str, set[str]]:
    """The names that ``covers`` marks in the tests of ``folder``, by their owner as it is written there."""
    covered: dict[str, set[str]] = defaultdict(set)
    for file in sorted(folder.glob("test_*.py")):
        for node in ast.walk(parsed(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "covers":
                owner, *names = node.args
                covered[ast.unparse(owner)] |= {ast.literal_eval(name) for name in names}
    return dict(covered)


def spy(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Call]:
    """Let ``owner.name`` work as before, and note the arguments of each call and, as ``return``, its result."""
    original, calls = getattr(owner, name), list[Call]()
    signature = inspect.signature(original)

    def watched(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        call = dict(bound.arguments)
        calls.append(call)
        call["return"] = original(*args, **kwargs)
        return call["return"]

    monkeypatch.setattr(owner, name, watched)
    return calls
