"""Devices are taken as named or refused, never exchanged."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sunfish.hardware import cpu
from sunfish.hardware import device as devices
from sunfish.hardware.cpu import cores, hardware_threads
from sunfish.hardware.device import autocast, choose_device, choose_precision
from sunfish.utils import UsageError


def test_auto_and_cpu() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mps", "lacks the float64"),
        ("tpu", "the devices are: auto, cpu, cuda"),
        ("cuda:one", "the devices are: auto, cpu, cuda"),
    ],
)
def test_a_device_that_no_machine_has_is_wrong_use(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"device is '{name}'.*{message}"):
        choose_device(name)


def test_a_device_that_this_machine_lacks_is_named() -> None:
    with pytest.raises(ValueError, match=r"device is 'cuda:99'.*(no CUDA GPU|counted from 0)") as error:
        choose_device("cuda:99")
    assert not isinstance(error.value, UsageError)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_the_type(dtype: torch.dtype) -> None:
    with autocast(torch.device("cpu"), dtype):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_the_number_format_is_chosen_from_pairs_so_that_one_slow_moment_decides_nothing(monkeypatch) -> None:
    # The machine halves its speed while it is measured: (bfloat16, float32) of each pair, after one of small products.
    pairs = [(50, 200), (210, 190), (400, 185), (205, 95), (210, 98), (410, 186)]
    rates = iter([rate for pair in pairs for rate in pair])
    monkeypatch.setattr(devices, "matmul_rate", lambda *_, **__: next(rates))
    assert choose_precision("auto", torch.device("cpu")) == torch.bfloat16


@pytest.mark.parametrize(
    "small, large, sizes",
    [
        (0.19, None, [128] * 2),  # a large product would take seconds
        (0.2, 0.69, [128] * 2 + [1024] * 2),
        (0.2, 0.7, [128] * 2 + [1024] * 10),
    ],
)
def test_emulated_bfloat16_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, small: float, large: float | None, sizes: list[int]
) -> None:
    asked = []

    def rate(dtype: torch.dtype, size: int, seconds: float) -> float:
        asked.append((dtype, size))
        share = {128: small, 1024: large}[size]
        assert share is not None and seconds == 0.03
        return 100 * share if dtype == torch.bfloat16 else 100.0

    monkeypatch.setattr(devices, "matmul_rate", rate)
    assert choose_precision("auto", torch.device("cpu")) == torch.float32
    assert [size for _, size in asked] == sizes
    assert [dtype for dtype, _ in asked] == [torch.bfloat16, torch.float32] * (len(sizes) // 2)


BLOCKS = """
import ctypes, sys
from sunfish.hardware.cpu import keep_malloc_pages
print(keep_malloc_pages() if sys.argv[1:] else False)
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
fields = [(name, ctypes.c_size_t) for name in names]
libc.mallinfo2.restype = type("Info", (ctypes.Structure,), {"_fields_": fields})
before = libc.mallinfo2()
block = libc.malloc(ctypes.c_size_t(20 * 2**20))
apart = libc.mallinfo2().hblks - before.hblks
libc.free(block)
print(apart, libc.mallinfo2().arena - before.arena >= 19 * 2**20)  # less what was free before
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs a GNU C library of 2021 or later"
)
def test_the_memory_of_a_step_is_kept_for_the_next() -> None:
    """20 MB are a block of their own, returned to the system at once; else the heap keeps them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}

    def said(*arguments: str, **more: str) -> list[str]:
        command = [sys.executable, "-c", BLOCKS, *arguments]
        done = subprocess.run(command, env=environment | more, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert said() == ["False", "1", "False"]
    assert said("keep") == ["True", "0", "True"]
    assert said("keep", MALLOC_ARENA_MAX="2") == ["False", "1", "False"]


SHAPES = """
import ctypes
import torch
from sunfish.hardware.device import set_threads
set_threads(1)
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = type("Info", (ctypes.Structure,), {"_fields_": [(n, ctypes.c_size_t) for n in names]})
left, right = torch.ones(500, 64, dtype=torch.bfloat16), torch.ones(64, 64, dtype=torch.bfloat16)
for rows in range(1, 501):
    left[:rows] @ right
    torch.bmm(left[None, :rows], right[None])
    if rows == 250:
        before = libc.mallinfo2().uordblks
print((libc.mallinfo2().uordblks - before) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs a GNU C library of 2021 or later"
)
def test_batches_of_ever_new_shapes_take_no_more_memory() -> None:
    """By default each new shape of a bfloat16 product keeps its kernel: 250 of two products are 200 MiB."""
    environment = {name: value for name, value in os.environ.items() if "CACHE_CAPACITY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", SHAPES], env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 10


def test_what_the_environment_says_of_kernels_stays(monkeypatch) -> None:
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DNNL_PRIMITIVE_CACHE_CAPACITY", "7")
    monkeypatch.setattr(os, "environ", environment := dict(os.environ))
    cpu.limit_kernel_caches()
    assert "ONEDNN_PRIMITIVE_CACHE_CAPACITY" not in environment
    assert environment["LRU_CACHE_CAPACITY"] == str(cpu.KERNELS_KEPT)


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
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(allowed), raising=False)
    assert cores(with_topology(tmp_path, siblings)) == expected
    assert hardware_threads(tmp_path / "no-cgroup", tmp_path / "own") == len(set(allowed))


def test_a_run_takes_one_thread_for_each_core(monkeypatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    try:
        assert devices.set_threads(0) == 3
        assert devices.set_threads(2) == 2
    finally:
        torch.set_num_threads(before)


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "SLURM_CPUS_PER_TASK")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu.max": "?\n"}, 64),
        ({"cpu.max": ""}, 64),
        ({"cpu.max": "300000\n"}, 3),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, 64),
        # The quota of a group that holds that of the process, as a batch system or systemd sets it.
        ({"own": "0::/a/b\n", "a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2),
        ({"own": "0::/a/b\n", "a/cpu.max": "max 100000\n", "a/b/cpu.max": "150000 50000\n"}, 3),
        ({"own": "0::/a/b\n", "a/c/cpu.max": "100000 100000\n"}, 64),
        ({"own": "0::/../other\n", "cpu.max": "400000 100000\n"}, 4),
        (
            {
                "own": "5:memory:/m\n4:cpu,cpuacct:/docker/x:y\n",
                "cpu,cpuacct/docker/x:y/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/docker/x:y/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        ({"own": "nonsense\n\n", "cpu.max": "200000 100000\n"}, 2),
        ({}, 64),
    ],
)
def test_the_quota_of_a_container_counts(monkeypatch, tmp_path, files: dict[str, str], expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(content)
    assert cpu.default_threads(tmp_path / "no-topology", tmp_path, tmp_path / "own") == expected
    assert hardware_threads(tmp_path, tmp_path / "own") == expected


@pytest.mark.parametrize(
    ("values", "threads", "workers"),
    [
        ({"OMP_NUM_THREADS": "1"}, 1, 8),
        ({"OMP_NUM_THREADS": "4,2"}, 4, 8),
        ({"OMP_NUM_THREADS": " 2 "}, 2, 8),
        ({"OMP_NUM_THREADS": "16"}, 16, 8),
        ({"OMP_NUM_THREADS": "", "MKL_NUM_THREADS": "3"}, 3, 8),
        ({"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "3"}, 2, 8),
        ({"SLURM_CPUS_PER_TASK": "4"}, 4, 4),
        ({"SLURM_CPUS_PER_TASK": "64"}, 8, 8),
        ({"SLURM_CPUS_PER_TASK": "4", "OMP_NUM_THREADS": "2"}, 2, 4),
        ({}, 8, 8),
    ],
)
def test_the_environment_says_how_many_threads(
    monkeypatch, tmp_path, values: dict[str, str], threads: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    nothing = tmp_path / "nothing"
    assert cpu.default_threads(nothing, nothing, nothing) == threads
    assert hardware_threads(nothing, nothing) == workers


@pytest.mark.parametrize("name", THREADS)
@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ",2", "²", "9" * 5000])
def test_a_wrong_number_of_threads_is_named(monkeypatch, name: str, value: str) -> None:
    for other in THREADS:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name} is {value[:40]!r}"):
        cpu.default_threads()


class Clock:
    """Time that passes with matrix products alone: they take 4, then 2, then 3 milliseconds."""

    def __init__(self, seconds: list[float]) -> None:
        self.now, self.seconds = 100.0, seconds

    def __matmul__(self, other: Clock) -> Clock:
        self.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        return self

    def to(self, dtype: torch.dtype) -> Clock:
        return self


def test_the_rate_of_a_product_is_that_of_the_fastest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first product pays for what is set up once, so it does not count, however fast."""
    time = Clock([0.001, 0.004, 0.002, 0.003])
    monkeypatch.setattr(devices, "clock", lambda device: time.now)
    monkeypatch.setattr(devices.time, "perf_counter", lambda: time.now)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: time)
    rate = devices.matmul_rate(torch.float32, size=100, seconds=0.031)
    assert rate == pytest.approx(2 * 100**3 / 0.002 / 1e9)
    assert time.now == pytest.approx(100.001 + 0.033)  # the last product begins before the time is over


@pytest.mark.parametrize("rates, dtype", [((131, 100), torch.bfloat16), ((129, 100), torch.float32)])
def test_bfloat16_must_be_a_third_faster(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[int, int], dtype: torch.dtype
) -> None:
    asked: list[torch.dtype] = []

    def rate(of: torch.dtype, *_: int, **__: float) -> float:
        asked.append(of)
        return rates[0] if of == torch.bfloat16 else rates[1]

    monkeypatch.setattr(devices, "matmul_rate", rate)
    assert choose_precision("auto", torch.device("cpu")) == dtype
    assert asked == [torch.bfloat16, torch.float32] * 6


def test_given_threads_count_and_none_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "default_threads", lambda: 3)
    monkeypatch.setattr(devices, "keep_malloc_pages", lambda: True)
    try:
        assert devices.set_threads(2) == torch.get_num_threads() == 2
        assert devices.set_threads(0) == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
