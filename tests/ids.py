"""Names of a test's cases that stay the same however often one process collects the test."""

from __future__ import annotations

LONGEST = 50


def brief(value: object) -> str:
    """The beginning of ``value`` without backslashes or line ends, which pytest escapes once more in each collection.

    A tool that collects twice, as mutmut does, then finds no case of that name.
    """
    return " ".join(str(value)[:LONGEST].encode("ascii", "replace").decode().replace("\\", "").split())
