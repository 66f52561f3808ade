"""Owns the smoke mode: a shape, a checkpoint and files that let a benchmark end in seconds."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

STEPS, STORIES = 2, 100
SHAPE: dict[str, Any] = {
    "vocab_size": 320,
    "n_layer": 1,
    "n_head": 1,
    "n_embd": 16,
    "context_length": 64,
    "batch_size": 2,
    "eval_texts": 2,
    "max_steps": STEPS,
    "max_minutes": 0.0,
    "precision": "float32",
}


@functools.cache
def smoke_folder() -> Path:
    """A folder that goes with the process."""
    _folders.append(tempfile.TemporaryDirectory(prefix="sunfish-smoke-"))
    return Path(_folders[-1].name)


_folders: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def smoke_checkpoint() -> Path:
    """A nano model after two steps on the built-in stories, trained once a process."""
    from sunfish import preset, train

    folder = smoke_folder()
    places = {"checkpoints": str(folder / "checkpoints"), "data_folder": str(folder / "data")}
    config = preset(
        "nano", name="smoke", device="cpu", threads=1, trackers=(), stories=STORIES, **SHAPE, **places
    )
    return train(config)


def smoke_jsonl(name: str, records: Iterable[Mapping[str, str]]) -> Path:
    """A JSON-lines file of ``records``."""
    path = smoke_folder() / f"{name}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def smoke_text(name: str, text: str) -> Path:
    """A text file."""
    path = smoke_folder() / f"{name}.txt"
    path.write_text(text, encoding="utf-8")
    return path
