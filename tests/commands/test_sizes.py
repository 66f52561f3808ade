"""``sunfish sizes``: every figure of its table, computed another way; which sizes are measured."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from sunfish.cli import main
from sunfish.commands import sizes
from sunfish.config.presets import PRESETS, preset
from sunfish.model.transformer import Transformer
from sunfish.training import throughput
from sunfish.training.preflight import stories_memory
from sunfish.training.text_lengths import story_lengths


def table(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """The rows as they are printed, and as JSON."""
    assert main(["sizes", "--device", "cpu", *words]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["sizes", "--device", "cpu", *words, "--json"]) == 0
    return shown, json.loads(capsys.readouterr().out)


def megabytes(number: str, unit: str) -> float:
    return float(number.replace(",", "")) * {"MiB": 1, "GiB": 1024}[unit]


def test_parameters_memory_and_arithmetic_without_a_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sunfish.hardware.device.bfloat16_speed_up", lambda: 0.5)
    shown, rows = table(["--quick"], capsys)
    assert [row["name"] for row in rows] == list(PRESETS)
    for line, row in zip(shown[1:-1], rows, strict=True):
        config = preset(row["name"])
        with torch.device("meta"):
            parameters = sum(p.numel() for p in Transformer(config.model).parameters())
        assert row["parameters"] == parameters
        assert row["training_bytes"] == int(stories_memory(config, torch.float32))
        assert parameters * 4 < row["sampling_bytes"] < row["training_bytes"]
        # Kaplan et al. 2020: 6 operations for each parameter and token, and a part for attention and the canvas.
        assert 6 * parameters < row["gigaflops_per_token"] * 1e9 < 12 * parameters
        assert row["tokens_per_second"] is None and row["measured"] is False
        assert line[:2] == [row["name"], f"{parameters:,}"] and line[-1] == "-"
        assert megabytes(*line[2:4]) == pytest.approx(row["training_bytes"] / 2**20, rel=0.05)
        assert megabytes(*line[4:6]) == pytest.approx(row["sampling_bytes"] / 2**20, rel=0.05)


def test_what_fits_and_is_fast_enough_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """base takes all the memory that there is; micro takes the longest time of a step, small a little less."""

    def speed(name: str, seconds: float) -> float:
        config = preset(name)
        return story_lengths(config.model).text * config.training.batch_size / seconds

    estimate = {name: 1000.0 * 7**i for i, name in enumerate(PRESETS)}
    estimate |= {"micro": speed("micro", 12.0), "small": speed("small", 11.99)}
    asked = []

    def measure(config: Any, dtype: torch.dtype, *_: object) -> float:
        asked.append((config.training.name, dtype))
        return 4321.0

    monkeypatch.setattr("sunfish.hardware.device.bfloat16_speed_up", lambda: 0.5)
    monkeypatch.setattr(throughput, "estimate_throughput", lambda *_: dict(estimate))
    monkeypatch.setattr(throughput, "measure_throughput", measure)
    monkeypatch.setattr(
        "sunfish.hardware.resources.available_memory",
        lambda *_: stories_memory(preset("base"), torch.float32),
    )
    monkeypatch.setattr(sizes, "PRESETS", PRESETS[:-1])  # the largest takes longest and shows no more
    for words, measured in (([], {"nano", "tiny"}), (["--measure"], {"nano", "tiny", "small"})):
        shown, rows = table(words, capsys)
        assert {row["name"] for row in rows if row["measured"]} == measured
        speeds = estimate | ({"small": 4321.0} if words else {})
        assert [row["tokens_per_second"] for row in rows] == [speeds[name] for name in PRESETS[:-1]]
        for line, row in zip(shown[1:-1], rows, strict=True):
            mark = "" if row["measured"] else "~"
            assert line[-1] == f"{mark}{row['tokens_per_second']:,.0f}"
    assert asked == [("small", torch.float32)] * 2
    monkeypatch.setattr(throughput, "measure_throughput", lambda *_: None)
    monkeypatch.setattr(sizes, "PRESETS", ("small",))
    _, rows = table(["--measure"], capsys)
    assert rows[0]["tokens_per_second"] == estimate["small"]


def test_the_table_has_a_head_and_says_what_its_figures_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns are right-aligned under their heads."""
    threads: list[int] = []
    monkeypatch.setattr("sunfish.hardware.device.set_threads", threads.append)
    monkeypatch.setattr("sunfish.hardware.device.bfloat16_speed_up", lambda: 0.5)
    assert main(["sizes", "--quick", "--device", "cpu"]) == 0
    head, *rows, note = capsys.readouterr().out.splitlines()
    assert head.split() == ["size", "parameters", "training", "sampling", "tokens/s"]
    for column in ("parameters", "training", "sampling", "tokens/s"):
        end = head.index(column) + len(column)
        assert all(row[end - 1] != " " and row[end : end + 1] in ("", " ") for row in rows)
    assert note == (
        "Memory is estimated at the preset's batch size for the built-in stories; ~ is scaled by arithmetic "
        "from the sizes that were measured."
    )
    assert threads == [0]
