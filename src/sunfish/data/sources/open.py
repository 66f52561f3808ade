"""Opens the corpus that ``--data`` names; what cannot be opened is an error, never another corpus."""

from __future__ import annotations

import difflib
from pathlib import Path

from sunfish.config import DataConfig
from sunfish.data.sources.files import SUFFIXES, FileSource
from sunfish.data.sources.stories import VALIDATION, StoriesSource


def open_source(config: DataConfig, seed: int) -> StoriesSource | FileSource:
    """The built-in stories, or the files at a path."""
    if config.data == "stories":
        return StoriesSource(seed, config.stories, max(100, min(VALIDATION, config.stories // 10)))
    path = Path(config.data).expanduser()
    if path.exists():
        return FileSource(
            path,
            text_field=config.text_field,
            prompt_field=config.prompt_field,
            prompt_template=config.prompt_template,
            delimiter=config.delimiter,
            validation_fraction=config.validation_fraction,
        )
    near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    similar = [str(path.parent / n) for n in difflib.get_close_matches(path.name, near, 3)]
    similar += difflib.get_close_matches(config.data, ["stories"], 1)
    raise ValueError(
        f"data is {config.data!r}, which is neither 'stories' (built in) nor a path that exists"
        + (f"; did you mean {' or '.join(similar)}?" if similar else "")
        + f" Files may be {', '.join(SUFFIXES)}, or a folder of these"
    )
