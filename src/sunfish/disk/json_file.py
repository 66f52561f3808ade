"""Reads small JSON files that anybody may have written: no file takes more memory or depth than a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 2**20  # real ones have a few kilobytes


def read_json(file: Path) -> Any:
    """The content of a JSON file whose tables give no key twice and whose numbers are finite.

    Raises:
        ValueError: The file is something else; says what, without its name.
    """
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    try:
        return json.loads(
            file.read_text(encoding="utf-8"),
            object_pairs_hook=_without_twins,
            parse_constant=_refuse_constant,
        )
    except RecursionError as why:
        raise ValueError("it is nested too deeply") from why


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("it gives one key twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which JSON does not allow")
