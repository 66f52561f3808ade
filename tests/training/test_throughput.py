"""Tokens/s of a run are measured on a part of it that takes seconds, and count what the run counts."""

from __future__ import annotations

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
from sunfish.training.text_lengths import TextLengths, story_lengths, text_lengths
from sunfish.training.throughput import (
    MAX_STEP_SECONDS,
    measure_throughput,
    optimizer_flops,
    reduced,
    step_flops,
)
from tests.runs import SHORT, config

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
    run = config(tmp_path, **SHORT)
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
