"""A run of a tiny model, for the tests of training."""

from __future__ import annotations

import json
from pathlib import Path

from sunfish.config import Config
from sunfish.config.presets import preset

SHAPE = dict(
    n_layer=1, n_head=1, n_embd=16, vocab_size=320, context_length=256, stories=120, batch_size=4, threads=1,
    precision="float32", max_minutes=0.0, log_every=1, eval_every=1000, sample_every=1000, save_every=3, eval_texts=8,
)  # fmt: skip


def config(folder: Path, **values: object) -> Config:
    return preset(
        "nano", **{**SHAPE, "checkpoints": str(folder / "ck"), "data_folder": str(folder / "data"), **values}
    )


def losses(folder: Path) -> dict[int, set[float]]:
    """Every loss that was ever logged for each step."""
    found: dict[int, set[float]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "loss" in record:
            found.setdefault(record["step"], set()).add(record["loss"])
    return found
