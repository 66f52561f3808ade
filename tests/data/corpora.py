"""Small corpora, made up."""

from __future__ import annotations

from pathlib import Path

from sunfish.config import Config
from sunfish.config.presets import preset

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
