"""Devices are taken as named or refused, never exchanged."""

from __future__ import annotations

import pytest
import torch

from sunfish import devices
from sunfish.devices import choose_device, choose_precision


def test_auto_and_cpu() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    "name,message",
    [
        ("mps", "lacks the float64"),
        ("tpu", "the devices are: auto, cpu, cuda"),
        ("cuda:99", "no CUDA GPU|CUDA GPUs, counted from 0"),
    ],
)
def test_a_device_that_cannot_be_used_is_named(name: str, message: str) -> None:
    with pytest.raises(
        ValueError, match=f"device is '{name}'.*({message})|{name.split(':')[0]}.*({message})"
    ):
        choose_device(name)


def test_the_number_format_is_chosen_from_pairs_so_that_one_slow_moment_decides_nothing(monkeypatch) -> None:
    # The machine halves its speed while it is measured: (bfloat16, float32) of each pair.
    pairs = [(210, 190), (400, 185), (205, 95), (210, 98), (410, 186)]
    rates = iter([rate for pair in pairs for rate in pair])
    monkeypatch.setattr(devices, "matmul_rate", lambda *_, **__: next(rates))
    assert choose_precision("auto", torch.device("cpu")) == torch.bfloat16


def test_emulated_bfloat16_is_measured_once(monkeypatch) -> None:
    asked = []

    def rate(dtype: torch.dtype, **_: float) -> float:
        asked.append(dtype)
        return 20.0 if dtype == torch.bfloat16 else 150.0

    monkeypatch.setattr(devices, "matmul_rate", rate)
    assert choose_precision("auto", torch.device("cpu")) == torch.float32
    assert asked == [torch.bfloat16, torch.float32]
