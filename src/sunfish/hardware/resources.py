"""How much memory and disk a run may have, and the processor's name."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import torch

ROOT = Path("/")
# Control groups, version 2 and 1: files of limits, file of what is used, and the page cache in memory.stat, which the
# system drops when a process asks for memory. Files that are mapped, such as a prepared corpus, are part of it.
GROUP_FILES = (
    (("memory.max", "memory.high"), "memory.current", ("active_file", "inactive_file")),
    (
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        ("total_active_file", "total_inactive_file"),
    ),
)


def available_memory(device: torch.device | None = None, root: Path = ROOT) -> float:
    """Bytes that a new process can have: of the GPU, or of the system within its control groups.

    Page cache counts as available and swap does not count at all. Every group above the process's own limits it too.

    Args:
        device: Whose memory; None: the system's.
        root: Where the files of the system are.
    """
    if device is not None and device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")), *_of_system(root)]
    for group in control_groups(root):
        limits += _of_group(group)
    return max(0.0, min(limits))


def control_groups(root: Path = ROOT) -> list[Path]:
    """The folders of the memory groups of this process, from the outermost to its own; none on other systems."""
    mount = root / "sys/fs/cgroup"
    groups: list[Path] = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            base = mount if number == "0" else mount / "memory"
            # Inside a container the path is that of the host, of which only the mount itself may exist.
            parts = Path(path.lstrip("/")).parts
            groups += [base.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return [group for group in groups if ".." not in group.parts and group.is_dir()]


def _of_system(root: Path) -> list[float]:
    """What the system says is available without swapping."""
    lines = _lines(root / "proc/meminfo")
    return [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]


def _of_group(group: Path) -> list[float]:
    """What each limit of a control group leaves; nothing where it has none."""
    left: list[float] = []
    for limits, current, cache in GROUP_FILES:
        used = next(iter(_numbers(group / current)), None)
        if used is None:
            continue
        pairs = (line.split() for line in _lines(group / "memory.stat"))
        reclaimable = sum(int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in cache)
        for name in limits:
            left += [float(limit - max(0, used - reclaimable)) for limit in _numbers(group / name)]
    return left


def _numbers(path: Path) -> list[int]:
    """The number that a file holds; none where it is missing or says "max"."""
    return [int(line) for line in _lines(path)[:1] if line.strip().isdecimal()]


def _lines(path: Path) -> list[str]:
    """The lines of a file of the system; none where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


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
