"""Small corpora, made up."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.data.sources.base import Chunk, LocatedExample, Source
from sunfish.types import Example

NOUNS = "harbour keeper lamp storm violin garden robot market winter letter bridge clock"
WORDS = NOUNS.split()


def quiet(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody sees."""


def text_of(i: int, words: int) -> str:
    return f"Document {i}. " + " ".join(WORDS[(i + j * (1 + i % 5)) % len(WORDS)] for j in range(words))


def small(tmp_path: Path, **fields) -> Config:
    values = {"vocab_size": 400, "context_length": 32, "prompt_length": 8}
    if "data" in fields:  # the built-in stories hold out a number of their own
        values["validation_fraction"] = 0.2
    return preset("nano", **{**values, "data_folder": str(tmp_path / "data"), **fields})


def records(count: int, words: int = 8) -> list[dict]:
    return [{"text": text_of(i, words), "label": WORDS[i % 3]} for i in range(count)]


class Listed(Source):
    """A source of given documents, by split."""

    name = "listed"

    def __init__(self, **splits: list[tuple[str, str]]) -> None:
        self.splits = splits

    def fingerprint(self) -> dict[str, Any]:
        return {"documents": self.splits}

    def chunks(self, split: str, size: int) -> Iterator[Chunk]:
        documents = [
            LocatedExample(f"{split}:{i}", Example(*pair)) for i, pair in enumerate(self.splits[split])
        ]
        for first in range(0, len(documents), size):
            yield partial(list, documents[first : first + size])
