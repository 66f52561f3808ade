"""How much memory and disk a run may have, and the processor's name."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import torch


def available_memory(device: torch.device | None = None) -> float:
    """Bytes that a new process can have: of the GPU, or of the system within its control group."""
    if device is not None and device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        limits += [] if limit == "max" else [float(int(limit) - used)]
    except (OSError, ValueError):  # not Linux, or no control groups: the installed memory has to do
        pass
    return max(0.0, min(limits))


def existing_parent(folder: str | Path) -> Path:
    """``folder``, or the nearest folder above it that exists."""
    path = Path(folder).expanduser().absolute()
    while not path.exists():
        path = path.parent
    return path


def free_disk(folder: str | Path) -> float:
    """Free bytes where ``folder`` is or will be."""
    return float(shutil.disk_usage(existing_parent(folder)).free)


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
