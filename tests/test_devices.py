"""Devices are taken as named or refused, never exchanged."""

from __future__ import annotations

import pytest
import torch

from sunfish.devices import choose_device


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
