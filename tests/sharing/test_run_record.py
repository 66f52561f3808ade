"""What is known of a run: its figures are those of its own last validation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sunfish.sharing.run_record import last_validation, read_record
from sunfish.utils import file_sha256
from tests.conftest import Workplace
from tests.tiny_checkpoint import CONFIG


def line(step: int, **figures: float) -> str:
    """A validation as the logger writes it."""
    return json.dumps({"step": step, "time": 1.5, **{f"validation/{k}": v for k, v in figures.items()}})


LINES = [
    line(0, bound=9.0),
    json.dumps({"step": 10, "loss": 3.0}),
    line(10, bound=4.0, texts=8),
    json.dumps({"step": 15, "note": "validation/bound was said"}),
    line(20, bound=3.0, bits_per_byte=math.nan, proven=True),
    line(30, bound=2.0),
    '{"step": 20, "validation/bound": 1',
    '["validation/bound"]',
]


@pytest.mark.parametrize(
    ("step", "figures", "at"),
    [
        (9, {"bound": 9.0}, 0),
        (10, {"bound": 4.0, "texts": 8}, 10),
        (29, {"bound": 3.0, "proven": True}, 20),
        (10**6, {"bound": 2.0}, 30),
    ],
)
def test_the_validation_is_the_last_one_before(
    tmp_path: Path, step: int, figures: dict[str, float], at: int
) -> None:
    (tmp_path / "metrics.jsonl").write_text("\n".join(LINES))
    assert last_validation(tmp_path / f"step-{step:07d}", step) == (figures, at)


def test_a_copy_has_no_figures(tmp_path: Path) -> None:
    assert last_validation(tmp_path / "step-0000010", 10) == ({}, 0)
    (tmp_path / "metrics.jsonl").write_text("\n".join(LINES))
    assert last_validation(tmp_path / "robots", 10) == ({}, 0)


def test_a_run_is_told_as_it_was(trained: Workplace) -> None:
    record = read_record(trained.checkpoint)
    folder = trained.checkpoint.resolve()
    assert (record.step, record.config.training.name) == (3, "trained")
    assert record.weights_sha256 == file_sha256(folder / "model.safetensors")
    assert record.figures_step == 3 and record.figures["bound"] > 0 and record.figures["texts"] == 4
    corpus = record.trainer["corpus"]
    assert corpus["documents"] == 200 and len(corpus["digest"]) >= 32
    assert record.trainer["tokens"] > 0 and record.trainer["seconds"] > 0
    assert record.trainer["environment"]["device"] == "cpu"


def test_a_checkpoint_alone_says_less(checkpoint: Path, folder: Path) -> None:
    record = read_record(folder)
    assert (record.config, record.trainer, record.figures) == (CONFIG, {}, {})
    assert record.parameters == read_record(checkpoint).parameters == 19_205
