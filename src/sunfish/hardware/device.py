"""Which device and number format a run uses: measured where it matters, never switched in silence."""

from __future__ import annotations

import time
from statistics import median

import torch

from sunfish.hardware.cpu import default_threads, keep_malloc_pages, limit_kernel_caches
from sunfish.utils import UsageError

CPU = torch.device("cpu")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# A product of this size is below this share of float32's rate only where bfloat16 is emulated: 0.04 on Zen 3.
EMULATED_SIZE, EMULATED = 128, 0.2


def choose_device(name: str) -> torch.device:
    """The device that ``name`` means; ``auto`` is a GPU where there is one.

    Raises:
        UsageError: for a name that no machine has.
        ValueError: for a device that this machine lacks.
    """
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but PyTorch sees no CUDA GPU; use --device cpu or auto")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {name!r}, but there are {torch.cuda.device_count()} CUDA GPUs, counted from 0"
        )
    return torch.device(name)


def check_device(name: str) -> None:
    """Refuse a name that no machine has for a device.

    Raises:
        UsageError: for such a name.
    """
    kind, colon, index = name.partition(":")
    if kind == "mps":
        raise UsageError(
            f"device is {name!r}, which lacks the float64 that exact draws need; use --device cpu or auto"
        )
    if kind not in ("auto", "cpu", "cuda") or (colon and (kind == "auto" or not index.isdecimal())):
        raise UsageError(f"device is {name!r}; the devices are: auto, cpu, cuda")


def set_threads(threads: int) -> int:
    """Use ``threads`` CPU threads (0: :func:`sunfish.hardware.cpu.default_threads`); returns the number.

    It also says what memory the process keeps: :func:`sunfish.hardware.cpu.keep_malloc_pages` and
    :func:`sunfish.hardware.cpu.limit_kernel_caches`.
    """
    keep_malloc_pages()
    limit_kernel_caches()
    torch.set_num_threads(threads or default_threads())
    return torch.get_num_threads()


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a network computes in ``dtype`` on ``device``; float32 changes nothing."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def clock(device: torch.device) -> float:
    """Wall-clock seconds at which ``device`` has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def matmul_rate(
    dtype: torch.dtype, size: int = 1024, seconds: float = 0.15, device: torch.device = CPU
) -> float:
    """Measured GFLOP/s of a square matrix product on ``device``."""
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    a @ b
    best, begin = float("inf"), clock(device)
    while time.perf_counter() - begin < seconds:
        t = clock(device)
        a @ b
        best = min(best, clock(device) - t)
    return 2 * size**3 / best / 1e9


def bfloat16_speed_up(rounds: int = 5) -> float:
    """How many times faster a bfloat16 product is than a float32 one on this CPU: a median of pairs.

    The speed of a shared machine changes by a factor of two from one moment to the next; the two products of
    a pair see the same moment. Where bfloat16 is emulated, one pair is enough to tell, and a small one: a single
    product of 1024 takes five seconds there.
    """
    if (small := _speed_up(EMULATED_SIZE)) < EMULATED:
        return small
    ratios: list[float] = []
    while len(ratios) < rounds and not (ratios and ratios[0] < 0.7):
        ratios.append(_speed_up(1024))
    return median(ratios)


def _speed_up(size: int) -> float:
    bfloat16, float32 = (matmul_rate(t, size, seconds=0.03) for t in (torch.bfloat16, torch.float32))
    return bfloat16 / float32


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The autocast type that ``name`` means on ``device``.

    ``auto`` is bfloat16 on a GPU that has it, and on a CPU where it makes a product 1.3 times faster.
    Processors without bfloat16 instructions emulate it, many times slower than float32; hence the probe.
    """
    if name != "auto":
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    return torch.bfloat16 if bfloat16_speed_up() > 1.3 else torch.float32
