"""A run of a tiny model, for the tests of training."""

from __future__ import annotations

import json
from pathlib import Path

from sunfish.config import Config
from sunfish.config.presets import preset

SHAPE = dict(
    n_layer=1,
    n_head=1,
    n_embd=16,
    vocab_size=320,
    context_length=64,
    stories=100,
    batch_size=4,
    threads=1,
    precision="float32",
    max_minutes=0.0,
    log_every=1,
    eval_every=1000,
    eval_texts=8,
    trackers=(),
)


def config(folder: Path, **values: object) -> Config:
    """A run in ``folder``, the temporary folder of a test.

    The built-in stories are prepared beside it, once for all tests of a process; other texts are prepared in it.
    """
    data = folder / "data" if "data" in values else folder.parent / "prepared-stories"
    folders = {"checkpoints": str(folder / "ck"), "data_folder": str(data)}
    return preset("nano", **SHAPE).with_fields(**{**folders, **values})


def losses(folder: Path) -> dict[int, set[float]]:
    """Every loss that was ever logged for each step."""
    logged: dict[int, set[float]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "loss" in record:
            logged.setdefault(record["step"], set()).add(record["loss"])
    return logged
