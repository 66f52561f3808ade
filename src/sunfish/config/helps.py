"""The help of settings: the string below each field of a dataclass."""

from __future__ import annotations

import ast
import functools
import inspect
from itertools import pairwise


@functools.cache  # several commands have the same groups, and parsing source is slow
def field_helps(kind: type) -> dict[str, str]:
    """The help of each field of the dataclass ``kind``."""
    helps: dict[str, str] = {}
    definition = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(definition, ast.ClassDef)
    for line, after in pairwise(definition.body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            text = getattr(after, "value", None)
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                helps[line.target.id] = " ".join(text.value.split())
    return helps
