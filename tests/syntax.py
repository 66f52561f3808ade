"""Python text as a syntax tree."""

from __future__ import annotations

import ast
import gc


def parsed(text: str) -> ast.Module:
    """The tree of ``text``.

    No garbage is collected meanwhile: if a finalizer ran code then, CPython 3.11 would raise "AST constructor recursion
    depth mismatch" (python/cpython#106905).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if was_enabled:
            gc.enable()
