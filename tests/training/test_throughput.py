"""Tokens/s of a run are measured on a part of it that takes seconds, and count what the run counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sunfish.config import Config
from sunfish.config.presets import PRESETS, preset
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.model.cost import flops_per_token
from sunfish.training import throughput
from sunfish.training.step import TrainingStep
from sunfish.training.text_lengths import TextLengths, story_lengths, text_lengths
from sunfish.training.throughput import (
    MAX_STEP_SECONDS,
    measure_throughput,
    optimizer_flops,
    reduced,
    step_flops,
)
from sunfish.types import Batch
from tests.runs import config

CPU = torch.device("cpu")
SHAPE = dict(vocab_size=64, n_layer=2, n_head=1, n_embd=16)


def test_a_part_is_as_small_as_it_must_be() -> None:
    run = preset("base")
    assert reduced(run, 128, 1e18) is run
    for rate in (1e13, 1e12, 1e11, 1e9):
        part = reduced(run, 128, rate)
        fits = step_flops(part, 128) <= MAX_STEP_SECONDS * rate
        assert fits or (part.training.batch_size, part.model.n_layer) == (2, 1)
        assert part.model.n_embd == run.model.n_embd and part.training.batch_size >= 2
        assert part.model.n_layer == run.model.n_layer or part.training.batch_size == 2


@pytest.mark.parametrize("name", ["micro", "base"])
@pytest.mark.parametrize("rate", [1e9, 3e10, 1e12])
def test_a_part_tells_the_speed_of_the_whole(name: str, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose time is arithmetic alone, the part gives exactly what the whole run does."""
    run, lengths = preset(name), story_lengths(preset(name).model)

    def seconds(part: Config, *_: object, whole: bool) -> Iterator[float]:
        work = part.training.batch_size * lengths.padded * flops_per_token(part.model)
        yield (work + whole * optimizer_flops(part.model)) / rate

    monkeypatch.setattr(throughput, "_step_seconds", seconds)
    monkeypatch.setattr(throughput, "_optimizer_rate", lambda *_: rate)
    expected = run.training.batch_size * lengths.text * rate / step_flops(run, lengths.padded)
    assert measure_throughput(run, torch.float32, CPU, 1.0, lengths, rate) == pytest.approx(expected)


def test_what_is_too_wide_to_be_measured_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = story_lengths(preset("full").model)
    assert measure_throughput(preset("full"), torch.float32, CPU, 1.0, lengths, 1e10) is None
    monkeypatch.setattr(throughput, "measure_throughput", lambda config, *_, **__: 1e4 / config.model.n_embd)
    monkeypatch.setattr(throughput, "_wide_rate", lambda *_: 1e9)
    speeds = throughput.estimate_throughput(CPU, torch.float32)
    assert sorted(speeds, key=speeds.__getitem__, reverse=True) == list(PRESETS)


def test_real_steps_and_real_parts_are_measured() -> None:
    lengths = TextLengths(30, 40, 8, 12)
    run = preset("nano", **SHAPE, batch_size=8)
    for rate in (float("inf"), 1.0):  # whole steps; the smallest part
        speed = measure_throughput(run, torch.float32, CPU, 0.05, lengths, rate)
        assert speed is not None and speed > 0


def test_lengths_are_those_of_the_corpus_once_it_is_prepared(tmp_path: Path) -> None:
    run = config(tmp_path, stories=100, data_folder=str(tmp_path / "data"))
    assumed = text_lengths(run)
    assert assumed.longest_text == run.model.context_length  # a story is longer
    prepared = prepare(
        open_source(run.corpus, run.training.seed), run, on_progress=lambda *_: None, workers=1
    )
    split, measured = prepared.split("train"), text_lengths(run)
    assert measured.longest_text == split.lengths.max() and measured.text == round(split.lengths.mean())
    assert 0 < measured.prompt <= measured.longest_prompt <= run.model.prompt_length


def test_lengths_of_other_texts_are_all_that_the_model_takes(tmp_path: Path) -> None:
    (tmp_path / "tales.txt").write_text("One tale.\n\nAnother tale.\n")
    run = config(tmp_path, data=str(tmp_path / "tales.txt"), prompt_length=9)
    context = run.model.context_length
    assert text_lengths(run) == TextLengths(context, context, 9, 9)


@pytest.fixture
def tenths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reading of the clock is a tenth of a second after the one before."""
    readings = itertools.count()
    monkeypatch.setattr(throughput, "clock", lambda _: next(readings) / 10)


LENGTHS = TextLengths(30, 40, 8, 12)
SMALL = preset("nano", **SHAPE, batch_size=8, block_lengths=(4, 16, 0))


@pytest.mark.usefixtures("tenths")
@pytest.mark.parametrize(("seconds", "steps"), [(100.0, 13), (0.25, 2), (0.0, 2), (0.45, 3)])
def test_whole_steps_count_the_tokens_of_a_batch(
    monkeypatch: pytest.MonkeyPatch, seconds: float, steps: int
) -> None:
    """The first step warms up; all block lengths have their turn where there is time; marks count, padding does not."""
    seen: list[tuple[Batch, int]] = []
    monkeypatch.setattr(TrainingStep, "__call__", lambda _, batch, __, number: seen.append((batch, number)))
    speed = measure_throughput(SMALL, torch.float32, CPU, seconds, LENGTHS)
    assert speed == pytest.approx(8 * 30 / 0.1)
    assert [number for _, number in seen] == list(range(steps))
    for batch, _ in seen:
        assert batch.x0.shape == (8, LENGTHS.padded) and batch.lengths.tolist() == [30] * 8
        assert batch.prompt.shape == batch.prompt_mask.shape == (8, 8) and bool(batch.prompt_mask.all())
        assert int(batch.x0.max()) < 64 and int(batch.prompt.max()) < 64 and len(batch.x0.unique()) > 50


@pytest.mark.usefixtures("tenths")
def test_a_part_is_scaled_by_its_arithmetic_and_the_optimizer_is_added() -> None:
    part = reduced(SMALL, LENGTHS.padded, 1.0)
    assert part.training.batch_size == 2 and part.model.n_layer == 1
    work, share = (flops_per_token(run.model) * run.training.batch_size for run in (SMALL, part))
    optimizer = optimizer_flops(SMALL.model) / (
        5 * 6 * 16**3 / 0.1
    )  # five iterations of three products in 0.1 s
    speed = measure_throughput(SMALL, torch.float32, CPU, 100.0, LENGTHS, 1.0)
    assert speed == pytest.approx(8 * 30 / (0.1 * work / share + optimizer))


def test_sizes_that_are_not_measured_are_scaled_by_the_wide_network(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[Config, object]] = []

    def measure(run: Config, *words: object, **named: object) -> float | None:
        measured.append((run, words[2]))
        return 77.0 if len(measured) < 3 else None

    def seconds(run: Config, *_: object, whole: bool) -> Iterator[float]:
        assert not whole and (run.model.n_layer, run.model.prompt_length, run.training.batch_size) == (
            1,
            0,
            2,
        )
        yield from (0.25, 0.75)

    monkeypatch.setattr(throughput, "measure_throughput", measure)
    monkeypatch.setattr(throughput, "_step_seconds", seconds)
    run = preset("full", batch_size=3)
    speeds = throughput.estimate_throughput(CPU, torch.float32, run)
    assert [(config.training.name, seconds) for config, seconds in measured] == [
        ("nano", 1.0),
        ("tiny", 1.0),
        ("full", 3.0),
    ]
    assert speeds["nano"] == speeds["tiny"] == 77.0 and set(speeds) == {*PRESETS, ""}
    wide = preset("micro", **throughput.WIDE)
    rate = 2 * story_lengths(wide.model).padded * flops_per_token(wide.model) / 0.5
    for name, size in [*((name, preset(name)) for name in PRESETS[2:]), ("", run)]:
        lengths = story_lengths(size.model)
        expected = size.training.batch_size * lengths.text * rate / step_flops(size, lengths.padded)
        assert speeds[name] == pytest.approx(expected), name


def test_a_usual_row_is_a_little_longer_than_its_text() -> None:
    """4% of a batch are padding, and rows have as round a length as the bound of 5% allows."""
    assert [TextLengths(text, 999, 5, 9).padded for text in (23, 24, 96, 131)] == [24, 26, 100, 136]
    assert step_flops(SMALL, 40) == 8 * 40 * flops_per_token(SMALL.model) + optimizer_flops(SMALL.model)


@pytest.mark.parametrize(
    ("vocabulary", "known"),
    [(1999, (131, 224, 15, 44)), (2000, (127, 208, 14, 44)), (3000, (122, 184, 14, 44))],
)
def test_stories_have_the_lengths_of_their_vocabulary(vocabulary: int, known: tuple[int, ...]) -> None:
    shape = preset("nano", vocab_size=vocabulary, context_length=512, prompt_length=64).model
    assert story_lengths(shape) == known
    cut = preset("nano", vocab_size=vocabulary, context_length=130, prompt_length=14).model
    assert story_lengths(cut) == (min(130, known[0]), 130, 14, 14)
