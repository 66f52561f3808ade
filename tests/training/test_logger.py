"""What a person sees of a run: its lines, its samples, its live line, its words on a validation."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from sunfish.training.evaluation import Validation
from sunfish.training.logger import Logger
from sunfish.training.loss import Losses
from sunfish.training.metrics import Metrics, describe
from sunfish.utils import Stderr
from tests.helpers import batch

VALUES = {"train_loss": 4.5678, "next_token": 3.21, "tokens_per_second": 12345.6, "loss": 1.0}
VALIDATION = Validation(3.5, 1.25, 3.75, 4, 3.0, 0.125, 64, True)


def losses_of(total: float, canvas: float = 1.0) -> Losses:
    return Losses(*map(torch.tensor, (total, canvas, 3 * canvas, total + 1, 0.5)))


def test_means_begin_anew_after_each_line() -> None:
    metrics = Metrics()
    for total in (1.0, 2.0):
        metrics.add(losses_of(total), batch(), 2.0)
    first = metrics.flush()
    tokens, positions = int(batch().lengths.sum()), batch().x0.numel()
    assert first == pytest.approx(
        {
            "loss": 1.5,
            "train_loss": 3.0,
            "canvas_loss": 1.0,
            "next_token": 2.5,
            "tokens_per_second": tokens / 2,
            "padding": 1 - tokens / positions,
        }
    )
    metrics.add(losses_of(7.0), batch(), 0.5)
    second = metrics.flush()
    assert (second["loss"], second["tokens_per_second"]) == pytest.approx((7.0, 2 * tokens))
    assert second["padding"] == pytest.approx(first["padding"])


def test_a_step_without_a_canvas_does_not_count_in_its_means() -> None:
    """Of pure autoregression, or of a batch in which nothing was masked."""
    metrics = Metrics()
    metrics.add(losses_of(1.0, canvas=2.0), batch(), 1.0)
    metrics.add(losses_of(2.0, canvas=0.0), batch(), 1.0)
    values = metrics.flush()
    assert (values["loss"], values["canvas_loss"], values["train_loss"]) == (1.5, 2.0, 6.0)
    metrics.add(losses_of(2.0, canvas=0.0), batch(), 1.0)
    assert not metrics.flush().keys() & {"canvas_loss", "train_loss"}


def test_a_validation_in_words() -> None:
    begin = "step 7  validation: bound 3.500 nats/token (1.250 bits/byte), 3.750 at block length 4, next token 3.000"
    assert describe(7, VALIDATION, prompted=False) == begin
    assert describe(7, VALIDATION) == f"{begin}; the right prompt is worth 0.125 nats/token"
    assert describe(7, VALIDATION._replace(proven=False), prompted=False) == (
        "step 7  validation: canvas cross-entropy 3.500 nats/token (this process has no proven bound), "
        "3.750 at block length 4, next token 3.000"
    )


def test_plain_lines_and_their_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = time.time()
    logger = Logger(tmp_path / "run", (), {})
    logger.metrics(3, {"loss": 1.5})
    logger.note(4, "a note")
    logger.progress(20, 0.5, VALUES, "2 min")
    logger.progress(21, 0.5, {"next_token": 3.21, "tokens_per_second": 1.0}, "no limit")
    logger.close()
    assert capsys.readouterr().err.splitlines() == [
        "step 20  train_loss 4.568  next_token 3.210  12,346 tokens/s  2 min left",
        "step 21  next_token 3.210  1 tokens/s  no limit left",
    ]
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert all(before - 0.001 <= record.pop("time") <= time.time() + 0.001 for record in records)
    assert records == [{"step": 3, "loss": 1.5}, {"step": 4, "note": "a note"}]


def test_samples_are_shown_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = Logger(tmp_path, (), {})
    logger.samples(5, [("A fox", "It ran."), ("", "")])
    logger.samples(6, [("A hen", "It sat.")])
    logger.close()
    assert (tmp_path / "samples.md").read_text() == (
        "## step 5\n\n**A fox**\n\nIt ran.\n\n**(no prompt)**\n\n(an empty text)\n\n"
        "## step 6\n\n**A hen**\n\nIt sat.\n\n"
    )
    assert (
        capsys.readouterr().err == "  > A fox\n    It ran.\n  > (no prompt)\n    \n  > A hen\n    It sat.\n"
    )


def test_the_live_line_has_the_share_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(Stderr, "live_console", lambda _: console)
    logger = Logger(tmp_path, (), {})
    logger.log("a line [of] text")
    logger.progress(30, 0.25, VALUES, "9 min")
    logger.close()
    shown = seen.getvalue()
    assert "a line [of] text" in shown
    assert "step 30  train_loss 4.568  next_token 3.210  12,346 tokens/s  9 min left" in shown
    assert " 25%" in shown.split("step 30")[-1] and "\x1b[?25h" in shown  # the cursor is shown again


def test_tensorboard_gets_every_value_of_every_step(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = Logger(tmp_path, ["tensorboard"], {})
    logger.metrics(3, {"loss": 1.5, "tokens": 7})
    logger.metrics(5, {"loss": 0.5})
    logger.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    seen = {
        name: [(event.step, event.value) for event in events.Scalars(name)] for name in ("loss", "tokens")
    }
    assert seen == {"loss": [(3, 1.5), (5, 0.5)], "tokens": [(3, 7.0)]}


def test_a_tracker_that_fails_is_left_alone_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []

    def fail(values: dict[str, float], step: int) -> None:
        calls.append(step)
        raise RuntimeError("no network\nand a stack")

    library = SimpleNamespace(init=lambda **_: None, log=fail, finish=lambda: calls.append(-1))
    monkeypatch.setitem(sys.modules, "trackio", library)
    logger = Logger(tmp_path, ["trackio"], {})
    for step in (3, 4):
        logger.metrics(step, {"loss": 1.0})
    logger.close()
    assert calls == [3] and len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert capsys.readouterr().err == (
        "note: trackio cannot write (no network); its curves end here; metrics.jsonl has all of them\n"
    )
