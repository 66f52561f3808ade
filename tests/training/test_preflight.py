"""Every preset has the size that it promises; the memory and the advice follow from it."""

from __future__ import annotations

import pytest

from sunfish.config.presets import PRESETS, preset
from sunfish.model.cost import disk_needed, flops_per_token
from sunfish.model.transformer import Transformer, build_model, count_parameters
from sunfish.processes import build_process
from sunfish.training import preflight as machine
from sunfish.training.preflight import preflight, recommend_size
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
    throughput = dict.fromkeys(PRESETS, 5_000.0) | {"": 1234.0}
    monkeypatch.setattr(machine, "estimate_throughput", lambda *_: throughput)
    result = preflight(preset("nano", device="cpu", threads=1, precision="float32"))
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


def test_preflight_refuses_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = preset("nano", device="cpu", threads=1, precision="float32")
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=r"memory.*batch_size"):
        patch.setattr(machine, "available_memory", lambda *_: 1e6)
        preflight(config)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="make room"):
        patch.setattr(machine, "free_disk", lambda *_: 1e6)
        preflight(config)
