"""Every preset has the size that it promises; the memory and the advice follow from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sunfish.config.presets import PRESETS, preset
from sunfish.model.cost import disk_needed, flops_per_token
from sunfish.model.transformer import Transformer, build_model, count_parameters
from sunfish.processes import build_process
from sunfish.training import preflight as machine
from sunfish.training.preflight import (
    ENOUGH_TOKENS,
    Preflight,
    memory_needed,
    preflight,
    recommend_size,
    stories_memory,
)
from sunfish.training.rank_memory import training_memory
from sunfish.training.text_lengths import story_lengths
from sunfish.training.throughput import PROBES
from sunfish.utils import format_bytes

PROMISED = {  # parameters, and the share by which they may differ
    "nano": (0.30e6, 0.10),
    "tiny": (1.0e6, 0.05),
    "small": (8e6, 0.10),
    "micro": (41.6e6, 0.01),
    "base": (130e6, 0.05),
    "full": (1.4e9, 0.03),
}


def test_every_preset_has_a_promise() -> None:
    assert list(PROMISED) == list(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_the_preset_has_its_size(name: str) -> None:
    wanted, share = PROMISED[name]
    assert count_parameters(preset(name).model) == pytest.approx(wanted, rel=share)


def test_counting_is_exact() -> None:
    config = preset("nano").model
    assert count_parameters(config) == sum(p.numel() for p in Transformer(config).parameters())


def test_costs_grow_with_the_size() -> None:
    costs = [flops_per_token(preset(name).model) for name in PRESETS]
    assert costs == sorted(costs)
    assert disk_needed(10**9) > 20e9
    assert format_bytes(2**20 * 300) == "300 MiB" and format_bytes(2**30 * 1.5) == "1.5 GiB"


def test_the_largest_size_that_sees_enough_is_recommended() -> None:
    throughput = {
        "nano": 40_000.0,
        "tiny": 15_000.0,
        "small": 4_000.0,
        "micro": 700.0,
        "base": 100.0,
        "full": 1.0,
    }
    assert recommend_size(throughput, 3600, 64e9) == "small"
    assert recommend_size(throughput, 8 * 3600, 64e9) == "micro"
    assert recommend_size(throughput, 8 * 3600, 1.9e9) == "small"
    assert recommend_size(throughput, 1, 64e9) == ""


def test_preflight_reports(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def estimate(*words: object) -> dict[str, float]:
        asked.append(words)
        return dict.fromkeys(PRESETS, 5_000.0) | {"": 1234.0}

    monkeypatch.setattr(machine, "estimate_throughput", estimate)
    config = preset("nano", device="cpu", threads=1, precision="float32")
    result = preflight(config)
    assert asked == [(torch.device("cpu"), torch.float32, config)]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert result.tokens_per_second == 1234 and result.best_in_an_hour
    for part in ("parameters", "memory: ", "disk: ", "1,234 tokens/s", "readable sentences", "in a night"):
        assert part in captured.err


@pytest.mark.parametrize("name", ["uniform", "gaussian"])
def test_preflight_counts_what_the_process_adds(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = preset("nano", process=name, device="cpu", threads=1, precision="float32")
    monkeypatch.setattr(machine, "estimate_throughput", lambda *_: dict.fromkeys(PRESETS, 1.0) | {"": 1.0})
    network = build_model(config, build_process(config.process, config.model.vocab_size))
    expected = sum(p.numel() for p in network.parameters())
    assert preflight(config).parameters == expected
    assert f"{expected:,} parameters" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["nano", "full"])
def test_the_memory_is_that_of_the_run_or_of_its_probe(name: str, dtype: torch.dtype, device: str) -> None:
    """The larger of the two: a small run is preceded by a larger probe."""
    config, place = preset(name), torch.device(device)
    parameters, lengths = count_parameters(config.model), story_lengths(config.model)
    run = training_memory(config, parameters, (lengths.longest_text, lengths.longest_prompt), dtype, place)
    probe = preset(PROBES[-1])
    usual = story_lengths(probe.model)
    measured = training_memory(probe, None, (usual.padded, usual.prompt), dtype, place)
    assert (run < measured) == (name == "nano")
    assert memory_needed(config, parameters, lengths, dtype, place) == max(run, measured)


def test_preflight_refuses_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = preset("nano", device="cpu", threads=1, precision="float32", batch_size=3, name="mine")
    monkeypatch.setattr(machine, "memory_needed", lambda *_: 3.0 * 2**30)
    monkeypatch.setattr(machine, "disk_needed", lambda _: 5.0 * 2**30)
    monkeypatch.setattr(machine, "available_memory", lambda _: 2.0 * 2**30)
    monkeypatch.setattr(machine, "free_disk", lambda _: 4.0 * 2**30)
    with pytest.raises(ValueError) as error:
        preflight(config)
    assert str(error.value) == (
        "training mine needs about 3.0 GiB of memory, but 2.0 GiB are available: use --activation_checkpointing, a "
        "smaller --batch_size than 3, a smaller --config (nano, tiny, small, micro, base, full), or --no-preflight to "
        "try anyway"
    )
    monkeypatch.setattr(machine, "available_memory", lambda _: 3.0 * 2**30)
    with pytest.raises(ValueError) as error:
        preflight(config)
    assert str(error.value) == (
        "training mine writes up to 5.0 GiB, but 4.0 GiB are free; make room, or choose another disk with "
        "--checkpoints and --data_folder"
    )


def test_every_figure_of_the_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = {"checkpoints": str(tmp_path / "ck"), "data_folder": str(tmp_path / "data")}
    config = preset("small", device="cpu", threads=1, precision="float32", max_minutes=10.0, **places)
    throughput = {
        "nano": 4e4,
        "tiny": 15e3,
        "small": 4e3,
        "micro": 700.0,
        "base": 100.0,
        "full": 1.0,
        "": 2e3,
    }
    free = {places["checkpoints"]: 5e9, places["data_folder"]: 9e9}
    monkeypatch.setattr(machine, "estimate_throughput", lambda *_: throughput)
    monkeypatch.setattr(machine, "available_memory", lambda _: 64e9)
    monkeypatch.setattr(machine, "free_disk", lambda place: free[place])
    result = preflight(config)
    parameters, lengths = count_parameters(config.model), story_lengths(config.model)
    longest = (lengths.longest_text, lengths.longest_prompt)
    memory = training_memory(config, parameters, longest, torch.float32)
    disk = disk_needed(parameters)
    assert result == Preflight(parameters, memory, 64e9, disk, 5e9, 2e3, "small", "micro")
    assert stories_memory(config) == memory
    lines = capsys.readouterr().err.splitlines()
    assert lines[2:] == [
        "machine: cpu, 1 threads, float32",
        f"memory: {format_bytes(memory)} needed, {format_bytes(64e9)} available",
        f"disk: up to {format_bytes(disk)} needed, {format_bytes(5e9)} free",
        "speed: 2,000 tokens/s",
        "     2 min  common words and phrases (0.2 M tokens)",
        "     4 min  readable sentences; prompts begin to have an effect (0.5 M tokens)",
        "     8 min  mostly correct sentences about what the prompt asks (1 M tokens)",
        "    29 min  short stories that follow their prompt (3.5 M tokens), after the end of this run",
        "recommended size: small in an hour, micro in a night (8 h)",
    ]
    free.update({places["checkpoints"]: 9e9, places["data_folder"]: 4e9})
    assert preflight(config.with_fields(max_minutes=0.0)).disk_available == 4e9
    assert "after the end" not in capsys.readouterr().err


def test_what_just_fits_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    config = preset("nano", device="cpu", threads=1, precision="float32")
    monkeypatch.setattr(machine, "estimate_throughput", lambda *_: dict.fromkeys(PRESETS, 1.0) | {"": 1.0})
    needed = preflight(config)
    monkeypatch.setattr(machine, "available_memory", lambda _: needed.memory_needed)
    monkeypatch.setattr(machine, "free_disk", lambda _: needed.disk_needed)
    assert preflight(config).best_in_a_night == ""
    seconds = ENOUGH_TOKENS / 10
    throughput = dict.fromkeys(PRESETS, 0.0) | {"nano": 10.0}
    memory = stories_memory(config)
    assert recommend_size(throughput, seconds, memory) == "nano"
    assert (
        recommend_size(throughput, seconds * 0.999, memory)
        == recommend_size(throughput, seconds, memory - 1)
        == ""
    )
