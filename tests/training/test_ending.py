"""How a run ends before its limit: signals at any moment, a log that nobody reads; saved in every case."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from sunfish.checkpoint.folder import LAST, read_metadata
from sunfish.signals import STOPPING, Interrupted
from sunfish.training.logger import Logger
from sunfish.training.trainer import Trainer, TrainingInterrupted, train
from sunfish.utils import stderr
from tests.runs import config, losses

pytestmark = pytest.mark.usefixtures("quick_samples")


def notes(folder: Path) -> list[str]:
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record["note"] for record in records if "note" in record]


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    fields = {"max_steps": 6, "eval_every": 2, "eval_texts": 2}
    return Trainer(config(tmp_path, name="run", **fields))


def send_at(trainer: Trainer, moment: str, *signals: int) -> None:
    """Send ``signals`` when the method ``moment`` is called for the first time."""
    whole, left = getattr(trainer, moment), list(signals)

    def method(*words: object, **named: object) -> object:
        while left:
            assert callable(signal.getsignal(left[0])), "it would end the tests"
            os.kill(os.getpid(), left.pop(0))
        return whole(*words, **named)

    setattr(trainer, moment, method)


@pytest.mark.parametrize(
    ("moment", "signum"),
    [
        *(("train_step", signum) for signum in STOPPING),
        *((moment, signal.SIGHUP) for moment in ("validate", "save", "sample")),
    ],
)
def test_a_signal_saves_whatever_the_run_is_doing(
    trainer: Trainer, tmp_path: Path, moment: str, signum: signal.Signals
) -> None:
    before = [signal.getsignal(s) for s in STOPPING]
    send_at(trainer, moment, signum)
    with pytest.raises(TrainingInterrupted, match=rf"stopped by {signum.name}; resume with --resume") as why:
        trainer.run()
    assert why.value.signum == signum
    step = 1 if moment == "train_step" else 2
    assert read_metadata(tmp_path / "ck/run" / LAST)["step"] == step == max(losses(tmp_path / "ck/run"))
    assert notes(tmp_path / "ck/run") == [str(why.value)]
    assert [signal.getsignal(s) for s in STOPPING] == before


def test_a_second_signal_does_not_wait(trainer: Trainer, tmp_path: Path) -> None:
    send_at(trainer, "sample", signal.SIGTERM, signal.SIGINT)
    with pytest.raises(
        Interrupted, match=r"stopped by SIGINT at once; the last checkpoint is .*step-0000002"
    ):
        trainer.run()
    assert read_metadata(tmp_path / "ck/run" / LAST)["step"] == 2


def test_a_thread_trains_without_handlers(trainer: Trainer, tmp_path: Path) -> None:
    running = threading.active_count()
    thread = threading.Thread(target=trainer.run)
    thread.start()
    thread.join()
    assert read_metadata(tmp_path / "ck/run" / LAST)["step"] == 6
    (note,) = notes(tmp_path / "ck/run")
    assert "not the main thread" in note
    assert threading.active_count() == running


def test_it_trains_inside_a_running_event_loop(trainer: Trainer, tmp_path: Path) -> None:
    async def serve() -> Path:
        return trainer.run()

    assert asyncio.run(serve()) == (tmp_path / "ck/run" / LAST).resolve()


class Pipe:
    """A stderr whose reader leaves after some lines."""

    def __init__(self, lines: int, error: type[OSError] | type[ValueError]) -> None:
        self.left, self.error = lines, error

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error("gone")
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize("lines", [*(pytest.param(n, marks=pytest.mark.slow) for n in (0, 4)), 7])
def test_the_run_is_saved_when_the_reader_of_its_log_leaves(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    monkeypatch.setattr(sys, "stderr", Pipe(lines, BrokenPipeError))
    with pytest.raises(TrainingInterrupted, match=r"stopped by SIGPIPE \(nobody reads the log\)") as why:
        trainer.run()
    run = tmp_path / "ck/run"
    assert read_metadata(run / LAST)["step"] == max(losses(run)) < 6
    assert notes(run) == [str(why.value)]
    monkeypatch.undo()
    assert not stderr.reader_left
    train(trainer.config, run / LAST)
    assert read_metadata(run / LAST)["step"] == 6


@pytest.mark.parametrize("error", [OSError, pytest.param(ValueError, marks=pytest.mark.slow)])
def test_a_terminal_that_closes_ends_nothing_by_itself(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, error: type[OSError] | type[ValueError]
) -> None:
    monkeypatch.setattr(sys, "stderr", Pipe(2, error))
    trainer.run()
    assert read_metadata(tmp_path / "ck/run" / LAST)["step"] == 6


def test_without_stderr_it_trains(tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    trainer.run()
    assert read_metadata(tmp_path / "ck/run" / LAST)["step"] == 6


def test_a_missing_tracker_is_found_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="'wandb', which is not installed"):
        Trainer(config(tmp_path, trackers=("wandb",)))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("torn", ["", '{"step": 1}\n', '{"step": 1}\n{"st', "{", '{"a": "ü"}\n{"ü'])
def test_half_a_line_of_a_killed_run_is_cut_off(tmp_path: Path, torn: str) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(torn.encode()[: len(torn.encode())])
    logger = Logger(tmp_path, (), {})
    logger.metrics(2, {"loss": 1.0})
    logger.close()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == torn.count("\n") + 1 and records[-1]["step"] == 2


@pytest.mark.parametrize("good,since", [(None, "nothing was saved"), (Path("run/step-0000004"), None)])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_names_itself_and_what_was_saved(
    good: Path | None, since: str | None, signum: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer.__new__(Trainer)
    trainer._stop, trainer.good = None, good
    trainer._on_signal(signum, None)
    assert trainer._stop == signum
    assert capsys.readouterr().err == f"{signum.name}: saving after this step …\n"
    with pytest.raises(Interrupted) as error:
        trainer._on_signal(signum, None)
    assert error.value.signum == signum
    since = since or f"the last checkpoint is {good}"
    assert str(error.value) == f"stopped by {signum.name} at once; {since}"
