"""What is known of the run that made a checkpoint: its settings, corpus, time, machine and last validation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from sunfish.checkpoint.links import METRICS, STATE, STEP_NAME, resolve_checkpoint
from sunfish.checkpoint.metadata import WEIGHTS, read_metadata
from sunfish.checkpoint.resuming import read_trainer
from sunfish.checkpoint.weights import read_header
from sunfish.config import Config

FIGURES = "validation/"  # how the names of a validation's figures begin in metrics.jsonl


class RunRecord(NamedTuple):
    """The facts of a model card. What a copy of a checkpoint does not hold is empty."""

    config: Config
    step: int
    parameters: int
    weights_sha256: str
    trainer: dict[str, Any]  # tokens, seconds, corpus, environment
    figures: dict[str, float]  # of the last validation up to this step
    figures_step: int


def read_record(checkpoint: Path) -> RunRecord:
    """Collect what the checkpoint and the folder of its run say.

    Raises:
        ValueError: The path is no checkpoint, or it is damaged.
    """
    folder = resolve_checkpoint(checkpoint)
    metadata = read_metadata(folder)
    config = Config.from_dict(metadata["config"])
    trainer: dict[str, Any] = {}
    if (folder / STATE).is_file():
        saved = read_trainer(folder)
        trainer = {key: saved[key] for key in ("tokens", "seconds", "corpus", "environment") if key in saved}
    figures, step = last_validation(folder, metadata["step"])
    return RunRecord(
        config,
        metadata["step"],
        sum(math.prod(tensor.shape) for tensor in read_header(folder / WEIGHTS).values()),
        metadata["files"][WEIGHTS],
        trainer,
        figures,
        step,
    )


def last_validation(checkpoint: Path, step: int) -> tuple[dict[str, float], int]:
    """The figures of the newest validation of the run that is not after ``step``, and its step; none: empty, 0."""
    figures: dict[str, float] = {}
    at, file = 0, checkpoint.parent / METRICS
    if not STEP_NAME.fullmatch(checkpoint.name) or not file.is_file():
        return figures, at
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if f'"{FIGURES}' not in line:
                continue
            try:
                record = json.loads(line)
            except ValueError:  # the line that a power cut tore
                continue
            if isinstance(record, dict) and type(record.get("step")) is int and at <= record["step"] <= step:
                figures, at = _figures(record), record["step"]
    return figures, at


def _figures(record: dict[str, Any]) -> dict[str, float]:
    return {
        name.removeprefix(FIGURES): value
        for name, value in record.items()
        if name.startswith(FIGURES) and isinstance(value, (int, float)) and math.isfinite(value)
    }
