"""Files that tests write, and what a source reads from them."""

from __future__ import annotations

import json
from pathlib import Path

from sunfish.data.sources.files import FileSource


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(path: Path, records: list) -> Path:
    return write(path, "".join(json.dumps(r) + "\n" for r in records))


def everything(source: FileSource) -> list[tuple[str, str]]:
    """(prompt, text) of both splits."""
    return [tuple(e) for split in ("train", "validation") for e in source.examples(split)]


def texts(source: FileSource) -> set[str]:
    return {text for _, text in everything(source)}
