"""Every figure that a run shows, against a second way of computing it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from sunfish.checkpoint.folder import load_checkpoint, load_trainer
from sunfish.config import GenerationConfig
from sunfish.model.cost import disk_needed
from sunfish.sampling.pipeline import Pipeline
from tests.training.watched import SETTINGS, STEP_SECONDS, VALIDATION_SECONDS, Watched, averages, settings

STEPS, LOG_EVERY, EVAL_EVERY, BATCH, DECAY = 6, 2, 4, 4, 0.2  # a decay that the first steps still are below


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A run of six steps with validations after the fourth and the last; not to be changed by a test."""
    run = settings(
        tmp_path_factory.mktemp("figures"),
        max_steps=STEPS,
        log_every=LOG_EVERY,
        eval_every=EVAL_EVERY,
        batch_size=BATCH,
        ema_decay=DECAY,
        warmup_steps=0,
    )
    with pytest.MonkeyPatch.context() as patch:
        whole = Watched(run, patch)
        whole.run()
        yield whole


def test_losses_are_means_over_the_steps_since_the_last_line(watched: Watched) -> None:
    records = watched.records("loss")
    assert [record["step"] for record in records] == [2, 4, 6]
    names = {
        "loss": "total",
        "train_loss": "cross_entropy",
        "canvas_loss": "canvas",
        "next_token": "next_token",
    }
    for record in records:
        steps = watched.steps[record["step"] - LOG_EVERY : record["step"]]
        for shown, field in names.items():
            values = [getattr(step.losses, field).item() for step in steps]
            assert record[shown] == pytest.approx(sum(values) / LOG_EVERY, rel=1e-6), shown


def test_counts_are_those_of_the_batches(watched: Watched) -> None:
    """Tokens of text with both marks and without padding; an epoch is every training row once."""
    rows = len(watched.trainer.prepared.split("train").lengths)
    tokens = [int(step.batch.lengths.sum()) for step in watched.steps]
    for record in watched.records("loss"):
        last = slice(record["step"] - LOG_EVERY, record["step"])
        positions = sum(step.batch.x0.shape[0] * step.batch.x0.shape[1] for step in watched.steps[last])
        assert record["tokens"] == sum(tokens[: record["step"]])
        assert record["epoch"] == pytest.approx(record["step"] * BATCH / rows)
        assert record["padding"] == pytest.approx((positions - sum(tokens[last])) / positions)
        assert record["tokens_per_second"] == pytest.approx(sum(tokens[last]) / (LOG_EVERY * STEP_SECONDS))


def test_minutes_count_validations_and_the_rest_of_a_run_follows_from_them(watched: Watched) -> None:
    """The validation after step 4 is in the time of step 5."""
    seconds = {2: 2 * STEP_SECONDS, 4: 4 * STEP_SECONDS, 6: 6 * STEP_SECONDS + VALIDATION_SECONDS}
    assert {record["step"]: record["minutes"] for record in watched.records("loss")} == pytest.approx(
        {step: value / 60 for step, value in seconds.items()}
    )
    shown = re.findall(
        r"^step (\d) .* ([\d,]+) tokens/s  (\S+ s) left$", watched.log.getvalue(), re.MULTILINE
    )
    speeds = {r["step"]: f"{round(r['tokens_per_second']):,}" for r in watched.records("loss")}
    assert [(int(step), left) for step, _, left in shown] == [(2, "40 s"), (4, "20 s"), (6, "0 s")]
    assert {int(step): speed for step, speed, _ in shown} == speeds
    assert f"done after 6 steps and 2 min: {watched.folder / 'last.ckpt'}" in watched.log.getvalue()


def test_the_line_of_a_step_shows_its_losses(watched: Watched) -> None:
    for record in watched.records("loss"):
        line = f"step {record['step']}  train_loss {record['train_loss']:.3f}  next_token {record['next_token']:.3f}  "
        assert line in watched.log.getvalue()


def test_a_checkpoint_has_the_average_and_resuming_has_the_weights(watched: Watched) -> None:
    folder = watched.folder / "last.ckpt"
    expected, weights = averages(watched, DECAY), watched.steps[-1].weights
    loaded, state = load_checkpoint(folder), load_trainer(folder)
    assert loaded.model.state_dict().keys() == expected.keys()
    for name, value in loaded.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)
        assert torch.equal(state["average"][name], value) and torch.equal(state["model"][name], weights[name])
    assert any(not torch.equal(weights[name], value) for name, value in loaded.model.state_dict().items())
    assert (loaded.step, state["step"]) == (STEPS, STEPS)
    assert state["tokens"] == sum(int(step.batch.lengths.sum()) for step in watched.steps)
    assert state["seconds"] == pytest.approx(STEPS * STEP_SECONDS + VALIDATION_SECONDS)
    assert state["best"] == min(validation.bound for validation in watched.validations)


def test_validation_is_the_likelihood_of_the_held_out_texts_by_the_checkpoint(watched: Watched) -> None:
    """Of ``eval_texts`` rows at even distances, one by one."""
    loaded, split = (
        load_checkpoint(watched.folder / "last.ckpt"),
        watched.trainer.prepared.split("validation"),
    )
    nats = tokens = size = 0.0
    for number in range(SETTINGS["eval_texts"]):
        row = number * len(split) // SETTINGS["eval_texts"]
        ids, prompt = (torch.from_numpy(part(row))[None] for part in (split.row, split.prompt))
        condition = loaded.model.encode(prompt, torch.ones_like(prompt, dtype=torch.bool))
        with torch.no_grad():
            logits = loaded.model.prefill(ids[:, :-1], condition)[0][0]
        nats += float(F.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        tokens += ids.shape[1] - 1
        size += len(loaded.tokenizer.decode(ids[0, 1:].tolist()).encode())
    validation = watched.validations[-1]
    assert validation.next_token == pytest.approx(nats / tokens, rel=1e-5)
    assert validation.texts == SETTINGS["eval_texts"]
    assert validation.bits_per_byte == pytest.approx(validation.bound * tokens / size / math.log(2))


def test_a_validation_is_written_and_said(watched: Watched) -> None:
    records = watched.records("validation/bound")
    assert [record["step"] for record in records] == [4, 6]
    for record, validation in zip(records, watched.validations, strict=True):
        written = {key.removeprefix("validation/"): value for key, value in record.items() if "/" in key}
        assert written == validation._asdict()
        assert (
            f"step {record['step']}  validation: bound {validation.bound:.3f} nats/token "
            f"({validation.bits_per_byte:.3f} bits/byte), {validation.block_bound:.3f} at block length 4, "
            f"next token {validation.next_token:.3f}; the right prompt is worth {validation.prompt_gain:.3f} nats/token"
        ) in watched.log.getvalue()


def test_samples_are_what_the_checkpoint_writes_for_held_out_prompts(watched: Watched) -> None:
    prepared = watched.trainer.prepared
    split = prepared.split("validation")
    prompts = [prepared.prompt_tokenizer.decode(split.prompt(row).tolist()) for row in (0, len(split) - 1)]
    pipeline = Pipeline.from_checkpoint(watched.folder / "last.ckpt")
    texts = pipeline.generate([*prompts, ""], GenerationConfig(), seed=STEPS)
    written = (watched.folder / "samples.md").read_bytes().decode().partition("## step 6\n")[2]
    for prompt, text in zip([*prompts, "(no prompt)"], texts, strict=True):
        end = "" if text.finished else " …"
        assert f"**{prompt}**\n\n{text.text}{end}\n" in written
        assert f"  > {prompt}\n    {text.text}{end}" in watched.log.getvalue()


def test_the_first_line_counts_parameters(watched: Watched) -> None:
    count = sum(value.numel() for value in watched.initial.values())
    assert (
        f"training run: {count:,} parameters on cpu (1 threads, float32), from step 0"
        in watched.log.getvalue()
    )


def test_the_card_has_the_steps_and_minutes_of_the_run(watched: Watched) -> None:
    card = (watched.folder / "last.ckpt" / "README.md").read_text()
    minutes = (STEPS * STEP_SECONDS + VALIDATION_SECONDS) / 60
    assert f"trained for 6 steps ({minutes:.0f} minutes) on the built-in stories" in card


def test_a_checkpoint_takes_the_disk_that_the_pre_flight_counts(watched: Watched) -> None:
    """20 bytes a parameter at most, 4 of them for sampling; names and shapes take the rest."""
    folder = watched.folder / "last.ckpt"
    parameters = sum(value.numel() for value in watched.initial.values())
    weights, state = ((folder / name).stat().st_size for name in ("model.safetensors", "trainer/state.pt"))
    names = 1024 * len(watched.initial)
    assert 4 * parameters < weights < 4 * parameters + names
    assert 12 * parameters < state < 16 * parameters + 3 * names
    assert disk_needed(parameters, data=0) == 3 * 20 * parameters + 6 * 4 * parameters
