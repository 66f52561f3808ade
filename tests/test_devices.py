"""Devices are taken as named or refused, never exchanged."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sunfish.hardware import cpu as of_cores
from sunfish.hardware import device as devices
from sunfish.hardware.cpu import cores, hardware_threads
from sunfish.hardware.device import choose_device, choose_precision


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


BLOCKS = """
import ctypes, sys
from sunfish.hardware.cpu import keep_memory
print(keep_memory() if sys.argv[1:] else False)
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.mallinfo2.restype = type("Info", (ctypes.Structure,), {"_fields_": [(n, ctypes.c_size_t) for n in names]})
before = libc.mallinfo2()
block = libc.malloc(ctypes.c_size_t(20 * 2**20))
apart = libc.mallinfo2().hblks - before.hblks
libc.free(block)
print(apart, libc.mallinfo2().arena - before.arena >= 20 * 2**20)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs a GNU C library of 2021 or later"
)
def test_the_memory_of_a_step_is_kept_for_the_next() -> None:
    """20 MB are the system's own block, given back at once; told so, they lie on the heap, which stays as it is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}

    def said(*arguments: str, **more: str) -> list[str]:
        command = [sys.executable, "-c", BLOCKS, *arguments]
        done = subprocess.run(command, env=environment | more, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert said() == ["False", "1", "False"]
    assert said("keep") == ["True", "0", "True"]
    assert said("keep", MALLOC_ARENA_MAX="2") == ["False", "1", "False"]


def with_topology(folder: Path, siblings: dict[int, str]) -> Path:
    """The files in which Linux says which hardware threads share a core."""
    for number, shared in siblings.items():
        (folder / f"cpu{number}/topology").mkdir(parents=True)
        (folder / f"cpu{number}/topology/thread_siblings_list").write_text(shared + "\n")
    return folder


@pytest.mark.parametrize(
    "siblings,allowed,expected",
    [
        ({n: f"{n % 8},{n % 8 + 8}" for n in range(16)}, range(16), 8),  # a desktop, numbered core by core
        ({n: f"{n - n % 2}-{n - n % 2 + 1}" for n in range(16)}, range(16), 8),  # the same, thread by thread
        ({n: f"{n % 8},{n % 8 + 8}" for n in range(16)}, (0, 8, 1), 2),  # what taskset left
        (
            {n: f"{n - n % 2}-{n - n % 2 + 1}" if n < 4 else str(n) for n in range(8)},
            range(8),
            6,
        ),  # two kinds
        ({n: str(n) for n in range(4)}, range(4), 4),
        ({}, range(3), 3),  # the system does not say
    ],
)
def test_a_core_with_two_hardware_threads_counts_once(
    monkeypatch, tmp_path, siblings, allowed, expected
) -> None:
    monkeypatch.setattr(of_cores, "_allowed", lambda: set(allowed))
    assert cores(with_topology(tmp_path, siblings)) == expected
    assert hardware_threads() == len(set(allowed))


def test_a_run_takes_one_thread_for_each_core(monkeypatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "cores", lambda: 3)
    try:
        assert devices.set_threads(0) == 3
        assert devices.set_threads(2) == 2
    finally:
        torch.set_num_threads(before)
