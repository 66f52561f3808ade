"""What a run does with its settings: limits, learning rates, blocks, noise, seeds, and which checkpoint is the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sunfish.checkpoint.folder import LAST, read_metadata
from sunfish.checkpoint.links import BEST
from sunfish.config import Config
from sunfish.data.dataloader import BatchLoader
from sunfish.rng import derive_seed
from sunfish.training.evaluation import validate
from sunfish.training.loss import Losses, training_loss
from sunfish.training.step import NonFiniteLoss
from sunfish.training.trainer import Trainer
from tests.training.watched import STEP_SECONDS, VALIDATION_SECONDS, Watched, settings

SHOWN = 5.0  # a bound that is no record


@pytest.fixture
def run(tmp_path: Path) -> Config:
    return settings(tmp_path, batch_size=2)


def rates(watched: Watched) -> list[tuple[float, ...]]:
    return [step.rates for step in watched.steps]


def test_the_learning_rate_over_a_run_of_steps(run: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of warm-up, six at the peak, and the last four of ten fall by a quarter each."""
    fields = dict(max_steps=10, warmup_steps=2, decay_fraction=0.4)
    peaks = dict(matrix_learning_rate=0.08, learning_rate=0.02)
    watched = Watched(run.with_fields(**fields, **peaks), monkeypatch, bounds=(SHOWN,))
    watched.run()
    shape = [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert rates(watched) == [pytest.approx((0.08 * factor, 0.02 * factor)) for factor in shape]


def test_the_learning_rate_over_a_run_of_minutes(run: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six steps of ten seconds in a minute; a step limit that is farther away does not matter."""
    fields = dict(max_steps=100, max_minutes=1.0, warmup_steps=0, decay_fraction=0.5)
    watched = Watched(run.with_fields(**fields), monkeypatch, bounds=(SHOWN,))
    watched.run()
    peak = run.training.learning_rate
    assert [step[1] for step in rates(watched)] == pytest.approx(
        [peak * factor for factor in (1, 1, 1, 1, 2 / 3, 1 / 3)]
    )
    assert watched.records("loss")[-1]["minutes"] == pytest.approx(1.0)


def test_a_validation_counts_as_time(run: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 114 seconds 4 are left after it, and one more step; what is beyond the limit is no more than all."""
    watched = Watched(run.with_fields(max_minutes=1.9, eval_every=4), monkeypatch, bounds=(SHOWN, SHOWN))
    watched.run()
    assert len(watched.steps) == 5
    assert watched.trainer.seconds == pytest.approx(5 * STEP_SECONDS + VALIDATION_SECONDS)
    assert watched.trainer.progress() == 1


def test_without_a_limit_no_share_is_over(run: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(run, monkeypatch)
    assert watched.trainer.progress() == 0
    watched.trainer.step, watched.trainer.seconds = 10**6, 10.0**6
    assert watched.trainer.progress() == 0


def test_the_best_checkpoint_is_that_of_the_lowest_bound(
    run: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also across a resumed run, which knows the bound to beat; equal is not better."""
    seen, link = [], run.training.folder / BEST
    fields = run.with_fields(eval_every=1, log_every=4, decay_fraction=0.0)
    watched = Watched(fields.with_fields(max_steps=4), monkeypatch, bounds=(3.0, 2.0, 2.5, 2.0))
    saved = watched.trainer.save

    def save() -> Path:
        folder = saved()
        seen.append(read_metadata(link)["step"])
        return folder

    monkeypatch.setattr(watched.trainer, "save", save)
    last = watched.run()
    assert seen == [1, 2, 2, 2] and read_metadata(last.parent / LAST)["step"] == 4
    resumed = Watched(fields.with_fields(max_steps=6), monkeypatch, bounds=(2.1, 1.9), resume=last)
    assert resumed.trainer.best == 2.0
    assert resumed.trainer.tokens == watched.trainer.tokens > 0
    assert resumed.trainer.seconds == watched.trainer.seconds > 0
    resumed.run()
    assert read_metadata(link)["step"] == 6 and read_metadata(last.parent / LAST)["step"] == 6
    kept = {int(path.name[-7:]): (path / "trainer").exists() for path in last.parent.glob("step-*")}
    assert kept == {1: False, 2: False, 4: False, 6: True}  # milestones are counted in validations


def test_other_text_has_another_best(run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound on other held-out texts is nothing to beat."""
    last = Watched(run.with_fields(max_steps=1), monkeypatch, bounds=(1.0,)).run()
    (tmp_path / "tales.txt").write_text("\n\n".join(f"Tale {number} of a fox." for number in range(60)))
    tales = run.with_fields(data=str(tmp_path / "tales.txt"))
    assert Trainer(run, last).best == 1.0
    assert Trainer(tales, last, other_data=True).best == float("inf")


class Objective:
    """The training loss, which remembers what it was asked for."""

    def __init__(self) -> None:
        self.block_lengths: list[int] = []
        self.seeds: list[int] = []

    def __call__(self, *words: Any) -> Losses:
        *_, generator, block_length, _ = words
        self.block_lengths.append(block_length)
        self.seeds.append(generator.initial_seed())
        return training_loss(*words)


def test_block_lengths_take_turns_and_every_step_has_noise_of_its_own(run: Config) -> None:
    trainer, objective = Trainer(run.with_fields(block_lengths=(4, 16, 0), seed=2)), Objective()
    trainer.training_step.objective = objective
    for _ in range(5):
        trainer.train_step()
    assert objective.block_lengths == [4, 16, run.model.context_length, 4, 16]
    assert objective.seeds == [derive_seed("step", 2, step) for step in range(5)]


def test_the_seed_decides_weights_and_batches(run: Config) -> None:
    first, again, other = (Trainer(run.with_fields(seed=seed)) for seed in (1, 1, 2))

    weights, repeated, others, average = (
        torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        for network in (first.model, again.model, other.model, first.average)
    )
    assert torch.equal(weights, repeated) and torch.equal(weights, average)
    assert float((weights == others)[weights.frac() != 0].float().mean()) < 0.1  # 0 and 1 are not drawn
    for trainer, seed in ((first, 1), (other, 2)):
        split = trainer.prepared.split("train")
        rows, unlike = (BatchLoader(split, 2, 0, number).row_numbers(3) for number in (seed, 0))
        assert trainer.batches.row_numbers(3) == rows != unlike
    words = (first.average, first.process, first.held_out, 6, 2, run.training.block_lengths, torch.float32)
    assert first.validate() == validate(*words, seed=1) != validate(*words, seed=0)


def test_dropout_and_checkpointing_reach_the_network_in_training_alone(run: Config) -> None:
    trainer = Trainer(run.with_fields(dropout=0.25, activation_checkpointing=True))
    rates = {part.dropout for part in trainer.model.modules() if hasattr(part, "dropout")}
    assert rates == {0.25} and trainer.model.activation_checkpointing
    assert not trainer.average.training and not any(p.requires_grad for p in trainer.average.parameters())
    plain = Trainer(run)
    assert not plain.model.activation_checkpointing
    assert {part.dropout for part in plain.model.modules() if hasattr(part, "dropout")} == {0.0}


def test_every_step_drops_other_activations(run: Config) -> None:
    """And the same ones when it is repeated, whatever else was drawn."""
    trainer = Trainer(run.with_fields(dropout=0.5, seed=2, learning_rate=0.0, matrix_learning_rate=0.0))
    seeds = []
    for _ in range(2):
        trainer.train_step()
        seeds.append(torch.initial_seed())
    assert seeds == [derive_seed("dropout", 2, step) for step in range(2)]


def test_a_run_without_prompts_has_none(run: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(
        run.with_fields(prompt_length=0, tokenizer="bytes", stories=100, max_steps=1), monkeypatch
    )
    watched.run()
    assert "validation: bound" in watched.log.getvalue() and "prompt is worth" not in watched.log.getvalue()
    assert [prompt for prompt, _ in watched.trainer.sample()] == [""]
    assert watched.validations[0].prompt_gain == 0


def test_an_average_that_is_ruined_is_not_saved(run: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(run.with_fields(max_steps=1), monkeypatch, bounds=(SHOWN,))
    next(watched.trainer.average.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="the weights after it are not finite"):
        watched.run()
    assert not list(run.training.folder.glob("step-*"))


def test_the_time_of_steps_that_are_rolled_back_counts(run: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps, a third one that fails, and one more after the return to the start."""
    watched = Watched(run.with_fields(max_steps=4, on_nan="rollback"), monkeypatch, bounds=(SHOWN,))
    bad = derive_seed("step", 0, 2)

    def poisoned(*words: Any) -> Losses:
        losses = training_loss(*words)
        is_bad = words[3].initial_seed() == bad
        return losses._replace(total=losses.total * float("nan")) if is_bad else losses

    watched.trainer.training_step.objective = poisoned
    watched.run()
    assert [record["rollback/restored_step"] for record in watched.records("rollback/restored_step")] == [0]
    assert watched.records("loss")[-1]["minutes"] == pytest.approx(3 * STEP_SECONDS / 60)


def test_rollbacks_in_a_row_are_counted_across_a_resumed_run(run: Config) -> None:
    trainer = Trainer(run)
    trainer.rollbacks = 2
    assert Trainer(run, trainer.save()).rollbacks == 2
