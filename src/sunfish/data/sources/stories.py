"""The built-in corpus: short stories written by a seeded grammar, each with its prompt. Needs no network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sunfish.types import Example

VALIDATION = (
    2_000  # stories held out, or a tenth of a small corpus; a story of one split never occurs in the other
)


class StoriesSource:
    """``train_count`` and ``validation_count`` stories, each a function of (seed, split, index)."""

    name = "stories"

    def __init__(self, seed: int, train_count: int, validation_count: int = VALIDATION) -> None:
        self.seed = seed
        self.counts = {"train": train_count, "validation": validation_count}

    def fingerprint(self) -> dict[str, Any]:
        """All that determines the stories: seed, counts, and the grammar: its code and its texts."""
        from sunfish.data import stories

        grammar = hash_grammar(Path(stories.__file__).parent)
        return {"source": "stories", "seed": self.seed, **self.counts, "grammar": grammar}

    def examples(self, split: str, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Example]:
        """Every ``world``-th story of ``split`` from ``start + rank`` on."""
        for index in range(start + rank, self._count(split), world):
            yield self._example(split, index)

    def chunks(self, split: str, size: int) -> Iterator[Callable[[], list[tuple[str, Example]]]]:
        """Picklable jobs of ``size`` stories each; the writing itself happens where the job is called."""
        for first in range(0, self._count(split), size):
            yield partial(self._write, split, first, min(first + size, self._count(split)))

    def total(self, split: str) -> int:
        """Number of stories of ``split``."""
        return self._count(split)

    def _write(self, split: str, first: int, last: int) -> list[tuple[str, Example]]:
        return [(f"stories {split}:{index}", self._example(split, index)) for index in range(first, last)]

    def _example(self, split: str, index: int) -> Example:
        from sunfish.data.stories import story

        written = story(self.seed, split, index)
        return Example(written.prompt, written.text)

    def _count(self, split: str) -> int:
        if split not in self.counts:
            raise ValueError(f"split is {split!r}; the splits are: {', '.join(self.counts)}")
        return self.counts[split]


def hash_grammar(folder: Path) -> str:
    """The SHA-256 hash of the code and the texts under `folder`, names included."""
    grammar = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".py", ".txt"):
            grammar.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return grammar.hexdigest()
