"""JSON files that anybody may have written: bounded in size and depth, and some with a hash of themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

MAX_BYTES = 2**20  # real ones have a few kilobytes
SHA256 = re.compile("[0-9a-f]{64}")
SEAL = "sha256"  # the entry with the hash of all others


def read_json(file: Path, max_bytes: int = MAX_BYTES) -> Any:
    """The content of a JSON file whose tables give no key twice and whose numbers are finite.

    Args:
        file: The file.
        max_bytes: Bytes that are read at most.

    Raises:
        ValueError: The file is something else; says what, without its name.
    """
    with file.open("rb") as binary:
        content = binary.read(max_bytes + 1)  # a device has no size that could be asked for
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_without_twins,
            parse_constant=_refuse_constant,
        )
    except RecursionError as why:
        raise ValueError("it is nested too deeply") from why


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """The content with the hash of itself."""
    return {**content, SEAL: json_sha256(content)}


def is_sealed(content: dict[str, Any]) -> bool:
    """Whether the content is as :func:`seal` left it."""
    return bool(
        content.get(SEAL) == json_sha256({key: value for key, value in content.items() if key != SEAL})
    )


def json_sha256(content: dict[str, Any]) -> str:
    """SHA-256 of JSON content, whatever the order of its keys."""
    import hashlib  # loads OpenSSL, which --help can do without

    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("it gives one key twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which JSON does not allow")
