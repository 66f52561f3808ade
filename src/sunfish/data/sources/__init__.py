"""Finds a source by its name: each is one file or folder here with ``build(config, seed)``."""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
from pathlib import Path

from sunfish.config import DataConfig
from sunfish.config.data import HUB
from sunfish.config.rules import shown
from sunfish.data.sources.base import Source
from sunfish.utils import UsageError

__all__ = ["Source", "is_path", "open_source", "source_names"]

SHOWN_CHARACTERS = 300  # of a path, in a message


def source_names() -> list[str]:
    """The names that ``--data`` takes besides a path: the files of this folder."""
    return sorted(
        m.name for m in pkgutil.iter_modules(__path__) if m.name not in ("base", "files", "held_out", "hub")
    )


def is_path(data: str) -> bool:
    """Whether ``data`` can only be a path: it is no name of a source and no address of the hub."""
    return data not in source_names() and not data.startswith(HUB)


def open_source(config: DataConfig, seed: int) -> Source:
    """The corpus that ``config.data`` names; what cannot be opened is an error, never another corpus.

    Args:
        config: ``data`` is the name of a source, an address that ``hub`` reads, or a path that ``files`` opens.
        seed: For sources that write their documents.

    Returns:
        The source.

    Raises:
        ValueError: ``data`` is neither a name nor a path that exists.
        UsageError: Its settings cannot be right, or ``data`` is both a name and a path.
    """
    path = os.path.expanduser(config.data)
    if not is_path(config.data):
        if os.path.lexists(path):
            raise UsageError(_ambiguous(config.data))
        module = "hub" if config.data.startswith(HUB) else config.data
    elif os.path.exists(path):
        module = "files"
    else:
        raise ValueError(_unknown(config.data))
    source: Source = importlib.import_module(f"{__name__}.{module}").build(config, seed)
    return source


def _ambiguous(data: str) -> str:
    """What is wrong with ``data``, which is a name and a path in the current folder as well."""
    kind = "folder" if os.path.isdir(data) else "file"
    corpus = "a data set on the hub" if data.startswith(HUB) else "the built-in corpus"
    return (
        f"data is {data!r}, {corpus}, but also a {kind} in {os.getcwd()}; give --data ./{data} to "
        f"read the {kind}, or rename it (or change to another folder) to use {corpus.replace('a data', 'the data')}"
    )


def _unknown(data: str) -> str:
    """What is wrong with ``data``, and the names and paths that look like it."""
    path = Path(os.path.expanduser(data))
    if data and os.path.lexists(path):
        return f"data is {shown(data, SHOWN_CHARACTERS)}, a link that leads nowhere; give a path that exists"
    try:
        neighbors = os.listdir(path.parent)
    except (OSError, ValueError):  # no folder, no access, or a name that no file can have
        neighbors = []
    similar = [str(path.parent / name) for name in difflib.get_close_matches(path.name, neighbors, 3)]
    similar += difflib.get_close_matches(data, source_names(), 1)
    remedy = (
        f"did you mean {' or '.join(similar)}?"
        if similar
        else "give a name, the path of a file or a folder of texts, or hf:OWNER/NAME for a data set of the hub"
    )
    names, given = ", ".join(source_names()), shown(data, SHOWN_CHARACTERS)
    return f"data is {given}, which is neither built in ({names}) nor a path that exists; {remedy}"
