"""What a run reports, of a run whose figures are given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from sunfish.training import reporting
from sunfish.training.evaluation import Validation
from sunfish.training.logger import Logger
from sunfish.training.ranks import Ranks
from sunfish.training.reporting import announce, log_metrics, log_validation
from sunfish.training.run_state import RunState
from tests.runs import config


class Recorder:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *words: self.told.append((name, *words))


def run_of(folder: Path, share: float, **values: object) -> RunState:
    model = nn.Linear(40, 30)  # 1,230 parameters
    settings = config(folder, name="mine", max_steps=50, max_minutes=2.5)
    fixed = dict(model=model, config=settings, prepared=None, device="cpu", threads=2, dtype=torch.bfloat16)
    fixed["ranks"] = Ranks(0, 3)
    progress = dict(progress=lambda: share, step=12, seconds=90.0, tokens=77)
    return cast(RunState, SimpleNamespace(**fixed, **progress, **values))


@pytest.mark.parametrize("share", [0.99, 1.0])
def test_the_beginning(tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "report", lambda prepared: f"corpus of {prepared}")
    recorder = Recorder()
    announce(run_of(tmp_path, share, notes=["", "other text", ""]), cast(Logger, recorder))
    expected: list[tuple[Any, ...]] = [
        ("log", "corpus of None"),
        ("log", "other text"),
        ("note", 12, "other text"),
        ("log", "training mine: 1,230 parameters on cpu (2 threads, bfloat16, 3 processes), from step 12"),
    ]
    if share == 1:
        expected.append(
            (
                "log",
                "nothing is left to do: the run has 12 steps and 1.5 minutes; its limits are --max_steps 50 "
                "and --max_minutes 2.5 (0: none)",
            )
        )
    assert recorder.told == expected


@pytest.mark.parametrize("prompt_length", [0, 8])
def test_a_validation(tmp_path: Path, prompt_length: int) -> None:
    """As curves and as a line, which says nothing of prompts where there are none."""
    recorder, run = Recorder(), run_of(tmp_path, 0.5)
    run.config = run.config.with_fields(prompt_length=prompt_length)
    validation = Validation(2.0, 1.5, 1.0, 4, 0.5, 0.25, 9, True)
    log_validation(run, cast(Logger, recorder), validation)
    (kind, step, values), (other, line) = recorder.told
    assert (kind, step, other) == ("metrics", 12, "log")
    assert values == {f"validation/{name}": value for name, value in validation._asdict().items()}
    gain = "; the right prompt is worth 0.250 nats/token" if prompt_length else ""
    assert line == (
        "step 12  validation: bound 2.000 nats/token (1.500 bits/byte), 1.000 at block length 4, "
        f"next token 0.500{gain}"
    )


@pytest.mark.parametrize("share,remaining", [(0.0, "no limit"), (1 / 3, "3 min"), (1.0, "0 s")])
def test_the_figures_and_the_rest(tmp_path: Path, share: float, remaining: str) -> None:
    """After 90 seconds a third is over: 180 seconds are left."""
    recorder = Recorder()
    run = run_of(tmp_path, share, batches=SimpleNamespace(epoch=lambda step: step / 8))
    log_metrics(run, cast(Logger, recorder), {"train_loss": 2.0})
    values = {"train_loss": 2.0, "epoch": 1.5, "minutes": 1.5, "tokens": 77}
    assert recorder.told == [("metrics", 12, values), ("progress", 12, share, values, remaining)]
