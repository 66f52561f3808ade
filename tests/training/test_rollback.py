"""A loss that is no number: the run stops, or returns to its last checkpoint and skips what led there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from sunfish.checkpoint.folder import LAST, load_checkpoint
from sunfish.config import Config
from sunfish.rng import derive_seed
from sunfish.training.logger import Logger
from sunfish.training.loss import Losses, training_loss
from sunfish.training.rollback import non_finite, roll_back
from sunfish.training.run_state import RunState
from sunfish.training.step import NonFiniteLoss
from sunfish.training.trainer import Trainer, train
from sunfish.utils import UsageError
from tests.runs import config, losses

pytestmark = pytest.mark.usefixtures("quick_samples")


def settings(folder: Path, **values: object) -> Config:
    fields = {
        "max_steps": 10,
        "eval_every": 3,
        "eval_texts": 2,
        "on_nan": "rollback",
        **values,
    }
    return config(folder, **fields)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the losses of some batches ``value``."""

    def set_batches(numbers: Iterable[int], value: float = float("nan")) -> None:
        seeds = {derive_seed("step", 0, number) for number in numbers}

        def loss(*words: object) -> Losses:
            losses = training_loss(*words)
            is_bad = words[3].initial_seed() in seeds
            return losses._replace(total=losses.total * value) if is_bad else losses

        monkeypatch.setattr("sunfish.training.run_state.training_loss", loss)

    return set_batches


def rollbacks(folder: Path) -> list[tuple[int, int]]:
    """(failed step, restored step) of each rollback."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        (r["rollback/failed_step"], r["rollback/restored_step"])
        for r in records
        if "rollback/failed_step" in r
    ]


@pytest.mark.parametrize(
    ("bad", "value", "expected"),
    [
        pytest.param([4], float("nan"), [(4, 3)], marks=pytest.mark.slow),
        pytest.param([0], float("inf"), [(0, 0)], marks=pytest.mark.slow),
        pytest.param([9], float("nan"), [(9, 9)], marks=pytest.mark.slow),
        ([3, 5, 8], float("-inf"), [(3, 3), (5, 4), (8, 6)]),
    ],
)
def test_the_run_returns_and_skips(
    tmp_path: Path, poison: Callable[..., None], bad: list[int], value: float, expected: list[tuple[int, int]]
) -> None:
    poison(bad, value)
    train(settings(tmp_path, name="run"))
    assert rollbacks(tmp_path / "ck/run") == expected
    logged = losses(tmp_path / "ck/run")
    assert sorted(logged) == [number + 1 for number in range(10) if number not in bad]
    loaded = load_checkpoint(tmp_path / "ck/run" / LAST)
    assert loaded.step == 10 and all(bool(torch.isfinite(p).all()) for p in loaded.model.parameters())


def test_what_was_skipped_leaves_no_trace(tmp_path: Path, poison: Callable[..., None]) -> None:
    """The weights after a rollback are those of the checkpoint, moved on by the batches after the bad one."""
    run = settings(tmp_path, name="run", max_steps=7, eval_every=100)
    poison([4])
    train(run)
    other = Trainer(run.with_fields(name="other"))
    other.step = 5  # from the initial weights
    while other.step < 7:
        other.train_step()
    left = load_checkpoint(tmp_path / "ck/run" / LAST).model.state_dict()
    assert all(torch.equal(value, left[name]) for name, value in other.average.state_dict().items())


@pytest.mark.slow
def test_killed_and_resumed_around_a_rollback_it_is_the_same_run(
    tmp_path: Path, poison: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    poison([4, 7])
    train(settings(tmp_path, name="whole"))
    whole_step = Trainer.train_step
    for cut in (3, 4, 5, 7):
        broken = settings(tmp_path, name=f"broken{cut}")
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power cut"):

            def step(self: Trainer, cut: int = cut) -> object:
                if self.step == cut:
                    raise RuntimeError("power cut")
                return whole_step(self)

            patch.setattr(Trainer, "train_step", step)
            train(broken)
        folder = broken.training.folder
        train(broken, folder / LAST)
        assert losses(folder) == losses(tmp_path / "ck/whole"), cut
        assert set(rollbacks(folder)) == {(4, 3), (7, 6)}, cut


def test_too_many_rollbacks_in_a_row_end_the_run(
    tmp_path: Path, poison: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    poison(range(4, 10))
    with pytest.raises(NonFiniteLoss, match=r"step 7: loss nan.*3 rollbacks in a row.*last\.ckpt") as why:
        train(settings(tmp_path, name="run"))
    assert "\n" not in str(why.value) and "on_nan" not in str(why.value)
    assert capsys.readouterr().err.count("back to the weights of") == 3


@pytest.mark.parametrize("step", [pytest.param(4, marks=pytest.mark.slow), 6])
def test_ruined_weights_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Whether the next loss shows it or a checkpoint was due first."""
    ruined = []

    def ruin(average: torch.nn.Module, model: torch.nn.Module, decay: float, number: int) -> None:
        if number == step - 1 and not ruined:
            ruined.append(number)
            with torch.no_grad():
                next(model.parameters()).fill_(float("inf"))

    monkeypatch.setattr("sunfish.training.trainer.update_average", ruin)
    train(settings(tmp_path, name="run"))
    assert rollbacks(tmp_path / "ck/run") == [(4, 3) if step == 4 else (5, 3)]


def test_stopping_names_the_other_way(tmp_path: Path, poison: Callable[..., None]) -> None:
    poison([4])
    with pytest.raises(NonFiniteLoss, match=r"step 4: loss nan.*rows \[.*last\.ckpt.*--on_nan rollback"):
        train(settings(tmp_path, name="run", on_nan="stop"))
    with pytest.raises(UsageError, match="on_nan is 'maybe': use stop or rollback"):
        config(tmp_path, on_nan="maybe")


def stopped(folder: Path, on_nan: str, **values: object) -> RunState:
    """What :mod:`sunfish.training.rollback` reads of a run."""
    is_settled = {"settle": lambda: None}
    run = SimpleNamespace(
        folder=folder, step=7, config=settings(folder, on_nan=on_nan), **is_settled, **values
    )
    return cast(RunState, run)


LOWER = "a lower --learning_rate and --matrix_learning_rate"
REMEDIES = {
    "stop": f"{LOWER}, --precision float32, or --on_nan rollback",
    "rollback": f"{LOWER}, or --precision float32",
}


@pytest.mark.parametrize("on_nan", REMEDIES)
@pytest.mark.parametrize("is_saved", [False, True])
def test_the_error_names_the_checkpoint_and_the_remedies(tmp_path: Path, on_nan: str, is_saved: bool) -> None:
    if is_saved:
        (tmp_path / LAST).touch()
    error = non_finite(stopped(tmp_path, on_nan), "the loss is nan")
    good = f"The last good checkpoint is {tmp_path / LAST}" if is_saved else "No checkpoint exists yet"
    assert error.fault == "step 7: the loss is nan"
    assert str(error).endswith(f"{good}. Try {REMEDIES[on_nan]}")


def test_a_run_that_cannot_roll_back_ends_with_the_error(tmp_path: Path) -> None:
    logger, why = cast(Logger, None), NonFiniteLoss("step 7: the loss is nan", "Stop")
    for run in (
        stopped(tmp_path, "stop", good=tmp_path, rollbacks=0),
        stopped(tmp_path, "rollback", good=None, rollbacks=0),
    ):
        with pytest.raises(NonFiniteLoss) as error:
            roll_back(run, why, logger)
        assert error.value is why
    with pytest.raises(NonFiniteLoss) as error:
        roll_back(stopped(tmp_path, "rollback", good=tmp_path, rollbacks=3), why, logger)
    assert error.value.fault == "step 7: step 7: the loss is nan, after 3 rollbacks in a row"
