"""Training: it learns, it resumes bit for bit after kills, it stops on NaN, it saves on signals."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch

from sunfish.checkpoint.folder import load_checkpoint, load_trainer, read_metadata
from sunfish.config import Config
from sunfish.training.loss import Losses
from sunfish.training.optimizer import learning_rate_factor, update_average
from sunfish.training.shown_prompts import decode_prompt
from sunfish.training.step import NonFiniteLoss
from sunfish.training.trainer import Trainer, train
from sunfish.types import Batch
from tests.runs import config, losses


def run_script(settings: Config, resume: bool) -> subprocess.Popen[bytes]:
    code = (
        "import json, sys; from pathlib import Path; from sunfish.config import Config"
        "; from sunfish.training.trainer import train\n"
        f"c = Config.from_dict(json.loads({json.dumps(json.dumps(settings.to_dict()))}))\n"
        f"last = Path(c.training.checkpoints) / 'last.ckpt'\n"
        f"train(c, last if {resume} and last.exists() else None)"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_resuming_after_kills_is_bit_for_bit(tmp_path: Path) -> None:
    """The same losses as the run that nobody disturbed, after SIGKILLs and a SIGTERM at random moments."""
    steps = 60
    whole = config(tmp_path, name="whole", max_steps=steps, eval_every=3)
    train(whole)
    expected = losses(tmp_path / "ck" / "whole")
    assert sorted(expected) == list(range(1, steps + 1))
    # Its own folder of checkpoints: last.ckpt names the newest run of a folder.
    broken = whole.with_fields(name="broken", checkpoints=str(tmp_path / "ck2"))
    folder = tmp_path / "ck2" / "broken"
    dice = random.Random(7)
    for number, kind in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)):
        process = run_script(broken, resume=True)
        seen = max(losses(folder), default=0) if (folder / "metrics.jsonl").exists() else 0
        target = min(steps - 5, seen + 6 + dice.randrange(6))
        deadline = time.time() + 60
        while time.time() < deadline and process.poll() is None:
            if (folder / "metrics.jsonl").exists() and max(losses(folder), default=0) >= target:
                break
            time.sleep(0.005)
        time.sleep(dice.random() * 0.05)
        process.send_signal(kind)
        process.wait(30)
        assert process.returncode != 0, f"run {number} ended before it could be killed"
        link = tmp_path / "ck2" / "last.ckpt"
        assert read_metadata(link)["step"] >= 3 and load_trainer(link)["step"] == read_metadata(link)["step"]
    assert run_script(broken, resume=True).wait(60) == 0
    assert losses(folder) == expected
    one, two = (load_checkpoint(tmp_path / at / "last.ckpt").model.state_dict() for at in ("ck", "ck2"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_it_learns_and_reports(tmp_path: Path) -> None:
    settings = config(tmp_path, name="learns", max_steps=16, eval_every=8)
    last = train(settings)
    records = [json.loads(line) for line in (tmp_path / "ck/learns/metrics.jsonl").read_text().splitlines()]
    first = next(r for r in records if "train_loss" in r)
    assert first["train_loss"] == pytest.approx(math.log(320), abs=0.3)
    validations = [r for r in records if "validation/bound" in r]
    assert [r["step"] for r in validations] == [8, 16]
    assert validations[1]["validation/bound"] < validations[0]["validation/bound"] < math.log(320) + 1
    assert validations[1]["validation/next_token"] < math.log(320)
    assert (tmp_path / "ck/learns/samples.md").read_text().count("## step ") == 2
    assert (last / "README.md").read_text().startswith("---")
    padding = [record["padding"] for record in records if "padding" in record]
    assert sum(padding) / len(padding) <= 0.10


def run_slowly(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Run with steps that take a minute each by the trainer's clock; the steps at which it saved."""
    step, save, saved = trainer.train_step, trainer.save, []

    def slow() -> tuple[Losses, Batch]:
        trainer.seconds += 60
        return step()

    monkeypatch.setattr(trainer, "train_step", slow)
    monkeypatch.setattr(trainer, "save", lambda: saved.append(trainer.step) or save())
    trainer.run()
    return saved


@pytest.mark.usefixtures("quick_samples")
@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        *((0.0, [4]), (2.5, [3, 4])),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((60.0, [4]), (1e-9, [1, 2, 3, 4]))),
    ],
)
def test_slow_steps_are_saved_and_shown_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float, expected: list[int]
) -> None:
    """With a step a minute and no validation due, ``save_minutes`` says when; the end comes in any case."""
    trainer = Trainer(config(tmp_path, name="clock", save_minutes=minutes, max_steps=4))
    saved = run_slowly(trainer, monkeypatch)
    samples = (tmp_path / "ck/clock/samples.md").read_text().splitlines()
    shown = [int(line.removeprefix("## step ")) for line in samples if line.startswith("## ")]
    assert saved == shown == expected


@pytest.mark.usefixtures("quick_samples")
def test_a_validation_restarts_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(config(tmp_path, name="clocks", save_minutes=2.5, eval_every=2, max_steps=6))
    saved = run_slowly(trainer, monkeypatch)
    assert saved == [2, 4, 6]


@pytest.mark.usefixtures("quick_samples")
def test_a_power_cut_loses_no_more_than_the_clock_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config(tmp_path, name="cut", save_minutes=1e-9, max_steps=4))
    whole = trainer.train_step

    def cut() -> tuple[Losses, Batch]:
        if trainer.step == 3:
            raise RuntimeError("power cut")
        return whole()

    monkeypatch.setattr(trainer, "train_step", cut)
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.run()
    assert read_metadata(tmp_path / "ck/cut/last.ckpt")["step"] == 3


@pytest.mark.slow
def test_a_signal_saves_at_the_step_boundary(tmp_path: Path) -> None:
    settings = config(tmp_path, name="signal", max_steps=100_000)
    process = run_script(settings, resume=False)
    metrics = tmp_path / "ck/signal/metrics.jsonl"
    while not (metrics.exists() and len(losses(metrics.parent)) > 3):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    step = read_metadata(tmp_path / "ck/last.ckpt")["step"]
    assert step == max(losses(metrics.parent))


def test_nan_stops_with_step_batch_and_last_good_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, name="nan", max_steps=10))
    trainer.train_step()
    saved = trainer.save()
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(
        NonFiniteLoss, match=r"step 1: loss nan.*rows \[.*last good checkpoint is .*last.ckpt"
    ) as error:
        trainer.train_step()
    assert "--learning_rate" in str(error.value)
    assert all(torch.isfinite(parameter).all() for parameter in load_checkpoint(saved).model.parameters())


def test_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    training = config(Path("."), max_steps=100, warmup_steps=10, decay_fraction=0.5).training
    assert learning_rate_factor(training, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate_factor(training, 50, 0.4) == 1.0
    assert learning_rate_factor(training, 50, 0.75) == pytest.approx(0.5)
    assert learning_rate_factor(training, 50, 1.0) == 0.0


def test_average_follows_the_weights() -> None:
    model, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = average.weight.detach().clone()
    update_average(average, model, 0.9, step=10_000)
    torch.testing.assert_close(average.weight, 0.9 * before + 0.1 * model.weight)


@pytest.mark.usefixtures("quick_samples")
def test_trackers_get_every_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that is asked for by name gets what metrics.jsonl gets; one that is missing is an error."""
    seen: list[tuple[int, dict[str, float]]] = []
    library = types.SimpleNamespace(
        init=lambda **about: seen.append((0, about)),
        log=lambda values, step: seen.append((step, values)),
        finish=lambda: seen.append((-1, {})),
    )
    monkeypatch.setitem(sys.modules, "trackio", library)
    train(config(tmp_path, name="tracked", max_steps=2, trackers=("trackio",)))
    lines = [json.loads(line) for line in (tmp_path / "ck/tracked/metrics.jsonl").read_text().splitlines()]
    expected = [(r.pop("step"), r) for r in lines if r.pop("time")]
    assert seen[0][1]["name"] == "tracked" and seen[1:-1] == expected and seen[-1][0] == -1
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        ValueError, match=r"'wandb', which is not installed: \./run\.sh -m pip install -e '\.\[log\]'"
    ):
        train(config(tmp_path, name="missing", max_steps=2, trackers=("wandb",)))
    with pytest.raises(ValueError, match="trackers has"):
        config(tmp_path, trackers=("paper",))


def test_prompts_that_were_cut_inside_a_letter_can_be_sampled(tmp_path: Path) -> None:
    """With bytes, and a vocabulary that the tokenizer does not fill: neither may end a run."""
    path = tmp_path / "tales.jsonl"
    record = {"prompt": "x" + "ü" * 20, "text": "Die Sonne scheint."}
    path.write_text("".join(json.dumps(record | {"text": f"Tag {i}."}) + "\n" for i in range(60)))
    settings = config(
        tmp_path,
        name="cut",
        max_steps=2,
        data=str(path),
        prompt_field="prompt",
        tokenizer="bytes",
        prompt_length=8,
    )
    trainer = Trainer(settings)
    assert trainer.prepared.tokenizer.size < settings.model.vocab_size
    prompts = [prompt for prompt, _ in trainer.sample()]
    assert prompts[0].startswith("xüü") and prompts[2] == ""
    whole = trainer.prepared.tokenizer.encode("xü")
    assert decode_prompt(trainer.prepared.tokenizer, whole[:-1], 2) == "x"
    assert trainer.run().is_dir()
