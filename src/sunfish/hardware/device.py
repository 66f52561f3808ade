"""Which device and which number format a run uses: measured where it matters, never switched in silence."""

from __future__ import annotations

import time
from statistics import median

import torch

from sunfish.hardware.cpu import cores, keep_memory

CPU = torch.device("cpu")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one; a named device that is missing is a ``ValueError``."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":")[0] == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but PyTorch sees no CUDA GPU here; use --device cpu or auto")
    if name.split(":")[0] == "mps":
        raise ValueError(
            "device is 'mps', which lacks the float64 that exact draws need; use --device cpu or auto"
        )
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}; the devices are: auto, cpu, cuda")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {name!r}, but there are {torch.cuda.device_count()} CUDA GPUs, counted from 0"
        )
    return device


def set_threads(threads: int) -> int:
    """Use ``threads`` CPU threads (0: one for each core that this process may use); returns the number.

    And keep the memory of a step for the next one, see :func:`sunfish.hardware.cpu.keep_memory`.
    """
    keep_memory()
    torch.set_num_threads(threads or cores())
    return torch.get_num_threads()


def clock(device: torch.device) -> float:
    """Seconds, by the wall clock, when ``device`` has done all that it was told to do."""
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
    """How many times faster a bfloat16 product is than a float32 one on this CPU, the median of ``rounds`` pairs.

    A machine that is shared changes its speed by a factor of two from one moment to the next; pairs measured side by
    side see the same moment. Where bfloat16 is emulated, one pair says so.
    """
    ratios: list[float] = []
    while len(ratios) < rounds and not (ratios and ratios[0] < 0.7):
        ratios.append(matmul_rate(torch.bfloat16, seconds=0.03) / matmul_rate(torch.float32, seconds=0.03))
    return median(ratios)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The autocast type. ``auto``: bfloat16 on a GPU that has it, or on a CPU where a product is 1.3 times faster.

    Processors without bfloat16 instructions emulate it, many times slower than float32; hence the probe.
    """
    if name != "auto":
        return PRECISIONS[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    return torch.bfloat16 if bfloat16_speed_up() > 1.3 else torch.float32
