"""Owns the built-in source: short stories written by a seeded grammar, each with its prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sunfish.config import DataConfig
from sunfish.data.sources.base import Chunk, LocatedExample, Source, check_split
from sunfish.types import Example

# Stories held out at most. A story of one split never occurs in the other.
MAX_VALIDATION_STORIES = 2_000


def build(config: DataConfig, seed: int) -> StoriesSource:
    """The source for ``--data stories``; a tenth of the stories is held out, within bounds.

    Args:
        config: ``stories`` is the number of stories for training.
        seed: Of the stories.

    Returns:
        The source.
    """
    return StoriesSource(seed, config.stories, max(100, min(MAX_VALIDATION_STORIES, config.stories // 10)))


class StoriesSource(Source):
    """Stories, each a function of (seed, split, index)."""

    name = "stories"

    def __init__(self, seed: int, train_count: int, validation_count: int = MAX_VALIDATION_STORIES) -> None:
        self.seed = seed
        self.counts = {"train": train_count, "validation": validation_count}

    def fingerprint(self) -> dict[str, Any]:
        """All that determines the stories: seed, counts, and the grammar: its code and its texts."""
        from sunfish.data import stories

        grammar = hash_grammar(Path(stories.__file__).parent)
        return {"source": "stories", "seed": self.seed, **self.counts, "grammar": grammar}

    def examples(self, split: str, start: int = 0, rank: int = 0, world_size: int = 1) -> Iterator[Example]:
        """See :meth:`Source.examples`; stories that are skipped are not written."""
        for index in range(start + rank, self.total(split), world_size):
            yield self._example(split, index)

    def chunks(self, split: str, size: int) -> Iterator[Chunk]:
        """See :meth:`Source.chunks`; the stories are written where the chunk is called."""
        total = self.total(split)
        for first in range(0, total, size):
            yield partial(self._write, split, first, min(first + size, total))

    def total(self, split: str) -> int:
        """Number of stories of ``split``."""
        check_split(split)
        return self.counts[split]

    def _write(self, split: str, first: int, last: int) -> list[LocatedExample]:
        return [
            LocatedExample(f"stories {split}:{index}", self._example(split, index))
            for index in range(first, last)
        ]

    def _example(self, split: str, index: int) -> Example:
        from sunfish.data.stories import story

        written = story(self.seed, split, index)
        return Example(written.prompt, written.text)


def hash_grammar(folder: Path) -> str:
    """The SHA-256 hash of the code and the texts under ``folder``, names included."""
    grammar = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".py", ".txt"):
            grammar.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return grammar.hexdigest()
