"""How long a run lasts, when it reports, where it writes; and all that its seed decides."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sunfish.training.run_state as run_state
import sunfish.training.trainer as trainer_module
from sunfish.checkpoint.folder import load_checkpoint, read_metadata
from sunfish.config import Config, GenerationConfig, TrainingConfig
from sunfish.sampling.pipeline import Pipeline
from sunfish.training.step import NonFiniteLoss
from sunfish.training.trainer import Trainer, train
from tests.settings.table import Call, covers, spy

Make = Callable[..., Trainer]
Settings = Callable[..., Config]
Patch = pytest.MonkeyPatch


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def steps_with(name: str, folder: Path) -> list[int]:
    return [record["step"] for record in records(folder) if name in record]


@covers(TrainingConfig, "max_minutes", "save_minutes", "eval_every", "log_every", "eval_texts")
def test_a_run_by_the_clock(make: Make, monkeypatch: Patch) -> None:
    """Each look at the clock takes 15 s, so a step takes 30 s, and 4 minutes hold 8 of them."""
    ticks = iter(range(0, 10**6, 15))
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    trainer = make(max_minutes=4.0, max_steps=0, save_minutes=1.0, eval_every=3, log_every=2, eval_texts=5)
    saved = spy(monkeypatch, run_state, "save_checkpoint")
    published = spy(monkeypatch, run_state, "publish")
    trainer.run()
    assert trainer.step == 8 and trainer.seconds == 240
    assert steps_with("loss", trainer.folder) == [2, 4, 6, 8]
    assert [record["minutes"] for record in records(trainer.folder) if "loss" in record] == [1, 2, 3, 4]
    assert steps_with("validation/bound", trainer.folder) == [3, 6, 8]
    assert {r["validation/texts"] for r in records(trainer.folder) if "validation/texts" in r} == {5}
    # After 1 minute; then at the validation of step 3, and 1 minute after that; and so on.
    assert [int(call["folder"].name.removeprefix("step-")) for call in saved] == [2, 3, 5, 6, 8]
    assert [read_metadata(call["folder"])["step"] for call in saved[-1:]] == [8]
    assert {call["every"] for call in published} == {3}


@covers(TrainingConfig, "max_steps")
def test_a_run_by_its_steps(make: Make) -> None:
    trainer = make(max_steps=3, max_minutes=600.0)
    trainer.run()
    assert trainer.step == 3 and steps_with("loss", trainer.folder) == [1, 2, 3]
    halfway = make(max_steps=4, max_minutes=2.0)
    halfway.step, halfway.seconds = 1, 90.0
    assert halfway.progress() == 0.75  # by the clock, which is ahead
    halfway.seconds = 12.0
    assert halfway.progress() == 0.25


@covers(TrainingConfig, "name", "checkpoints")
def test_where_a_run_writes(make: Make, tmp_path: Path) -> None:
    trainer = make(name="tales", checkpoints=str(tmp_path / "elsewhere"), max_steps=1)
    last = trainer.run()
    assert last == tmp_path / "elsewhere" / "tales" / "step-0000001" and last.is_dir()
    assert (tmp_path / "elsewhere" / "last.ckpt").resolve() == last
    assert "tales" in (last / "README.md").read_text()
    assert load_checkpoint(last).config == trainer.config


@covers(TrainingConfig, "batch_size")
def test_texts_of_a_step(make: Make, monkeypatch: Patch) -> None:
    trainer = make(batch_size=6, eval_texts=14)
    orders = spy(monkeypatch, trainer.held_out, "in_order")
    _, batch = trainer.train_step()
    assert len(batch.x0) == 6 and torch.equal(batch.x0, trainer.batches.batch(0).x0)
    assert torch.equal(make(batch_size=6).train_step()[1].x0, batch.x0)
    assert trainer.tokens == int(batch.lengths.sum())
    trainer.validate()
    assert {(call["limit"], call["batch_size"]) for call in orders} == {(14, 6)}
    assert trainer.batches.epoch(10) == 60 / len(trainer.batches.split)


@covers(TrainingConfig, "eval_texts")
def test_held_out_texts_are_not_those_of_training(make: Make) -> None:
    trainer = make()
    assert (trainer.batches.split.name, trainer.held_out.split.name) == ("train", "validation")
    seen = trainer.validate()
    assert seen.texts == 8 and seen == trainer.validate()


class Same:
    """The random numbers of two seeds compared, each part by itself."""

    def __init__(self, make: Make) -> None:
        self.one, self.again, self.other = (
            make(seed=1, dropout=0.2),
            make(seed=1, dropout=0.2),
            make(seed=2, dropout=0.2),
        )

    def differs(self, part: Callable[[Trainer], Any]) -> bool:
        one, again, other = part(self.one), part(self.again), part(self.other)
        assert one == again
        return bool(one != other)


@covers(TrainingConfig, "seed")
def test_all_that_a_seed_decides(make: Make, monkeypatch: Patch) -> None:
    sources = spy(monkeypatch, run_state, "open_source")
    same = Same(make)
    assert [call["seed"] for call in sources] == [1, 1, 2]  # of stories
    assert same.differs(lambda t: t.model.token_embedding.tolist())
    assert same.differs(lambda t: [t.batches.row_numbers(step) for step in range(4)])
    for trainer in (same.one, same.again, same.other):  # from now on: the same weights and the same texts
        trainer.model.load_state_dict(same.one.model.state_dict())
        trainer.average.load_state_dict(same.one.model.state_dict())
        trainer.batches = same.one.batches
    assert same.differs(lambda t: t.validate().bound)
    assert not same.differs(lambda t: t.validate().next_token)
    steps = spy(monkeypatch, trainer_module, "make_generator")
    seeds = spy(monkeypatch, torch, "manual_seed")
    assert same.differs(lambda t: t.train_step()[0].canvas.item())
    assert [call["parts"] for call in steps] == [("step", 1, 0), ("step", 1, 0), ("step", 2, 0)]
    assert seeds[0]["seed"] == seeds[1]["seed"] != seeds[2]["seed"]
    noises = [call["return"].initial_seed() for call in steps]
    assert seeds[0]["seed"] not in noises  # what is dropped is not what is noised
    same.one.train_step()
    assert steps[-1]["parts"] == ("step", 1, 1) and seeds[-1]["seed"] != seeds[0]["seed"]


@covers(TrainingConfig, "on_nan")
@pytest.mark.parametrize("on_nan", ["stop", "rollback"])
def test_after_a_loss_that_is_no_number(make: Make, monkeypatch: Patch, on_nan: str) -> None:
    trainer = make(on_nan=on_nan, max_steps=3)
    step, objective = trainer.training_step, trainer.training_step.objective
    steps = iter(range(10))

    def poisoned(*arguments: Any) -> Any:
        losses = objective(*arguments)
        return losses._replace(total=losses.total * float("nan")) if next(steps) == 1 else losses

    monkeypatch.setattr(step, "objective", poisoned)
    if on_nan == "rollback":
        trainer.run()
        assert trainer.step == 3 and steps_with("rollback/failed_step", trainer.folder) == [2]
        return
    with pytest.raises(NonFiniteLoss, match="step 1: loss nan"):
        trainer.run()


@covers(TrainingConfig, "trackers")
def test_trackers_of_a_run(make: Make, monkeypatch: Patch) -> None:
    seen: list[Call] = []
    library = SimpleNamespace(
        init=lambda **about: seen.append(about), log=lambda *_, **__: None, finish=lambda: None
    )
    monkeypatch.setitem(sys.modules, "trackio", library)
    trainer = make(trackers=("trackio",), max_steps=1)
    trainer.run()
    assert seen == [{"project": "sunfish", "name": trainer.folder.name, "config": trainer.config.to_dict()}]
    assert not (trainer.folder / "tensorboard").exists()


@covers(Trainer, "config", "resume", "other_data")
@covers(train, "config", "resume", "other_data")
def test_resuming_and_other_text(settings: Settings, tmp_path: Path, corpus: Path) -> None:
    config = settings(name="first", max_steps=2)
    last = train(config)
    assert last == tmp_path / "first" / "step-0000002"
    trainer = Trainer(config.with_fields(max_steps=4, name="second"), last)
    assert trainer.step == 2 and trainer.folder == tmp_path / "second"
    assert torch.equal(trainer.average.token_embedding, load_checkpoint(last).model.token_embedding)
    path = tmp_path / "other.jsonl"
    path.write_text("".join(corpus.read_text().splitlines(keepends=True)[20:]))
    other = config.with_fields(data=str(path), max_steps=3, name="third", data_folder=str(tmp_path / "data"))
    with pytest.raises(ValueError, match="is not the text that the run has learned from"):
        Trainer(other, last)
    assert train(other, last, other_data=True) == tmp_path / "third" / "step-0000003"


def test_samples_of_a_run(make: Make, monkeypatch: Patch) -> None:
    """By the average, for the first and the last held-out prompt and none, with other random numbers after each step."""
    written = spy(monkeypatch, Pipeline, "generate")
    trainer = make()
    for _ in range(2):
        trainer.train_step()
    shown, call = trainer.sample(), written[0]
    assert (
        call["self"].model is trainer.average and call["config"] == GenerationConfig() and call["seed"] == 2
    )
    split, decode = trainer.prepared.split("validation"), trainer.prepared.tokenizer.decode
    assert call["prompts"] == [decode(split.prompt(row).tolist()) for row in (0, len(split) - 1)] + [""]
    texts = [(text.prompt, text.text + ("" if text.finished else " …")) for text in call["return"]]
    assert shown == texts and [prompt for prompt, _ in shown] == call["prompts"]


def test_a_checkpoint_holds_the_average_and_its_run(make: Make) -> None:
    trainer = make(ema_decay=0.9, max_steps=2)
    loaded = load_checkpoint(trainer.run())
    for name, value in trainer.average.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    assert not torch.equal(trainer.average.token_embedding, trainer.model.token_embedding)
