"""Finds a source by its name: each is one file or folder here with ``build(config, seed)``."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path

from sunfish.config import DataConfig
from sunfish.data.sources.base import Source

__all__ = ["Source", "open_source", "source_names"]


def source_names() -> list[str]:
    """The names that ``--data`` takes besides a path: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in ("base", "files"))


def open_source(config: DataConfig, seed: int) -> Source:
    """The corpus that ``config.data`` names; what cannot be opened is an error, never another corpus.

    Args:
        config: ``data`` is the name of a source, or a path that ``files`` opens.
        seed: For sources that write their documents.

    Returns:
        The source.

    Raises:
        ValueError: ``data`` is neither a name nor a path that exists.
        UsageError: Its settings cannot be right.
    """
    if config.data in source_names():
        module = config.data
    # An empty path would be the current folder.
    elif config.data and Path(config.data).expanduser().exists():
        module = "files"
    else:
        raise ValueError(_unknown(config.data))
    source: Source = importlib.import_module(f"{__name__}.{module}").build(config, seed)
    return source


def _unknown(data: str) -> str:
    """What is wrong with ``data``, and the names and paths that look like it."""
    path = Path(data).expanduser()
    neighbors = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    similar = [str(path.parent / name) for name in difflib.get_close_matches(path.name, neighbors, 3)]
    similar += difflib.get_close_matches(data, source_names(), 1)
    remedy = (
        f"did you mean {' or '.join(similar)}?"
        if similar
        else "give a name, or the path of a file or a folder of texts"
    )
    names = ", ".join(source_names())
    return f"data is {data!r}, which is neither built in ({names}) nor a path that exists; {remedy}"
