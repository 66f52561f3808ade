"""Processor cores, how threads share them, and what memory a process keeps. Imports no torch."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

from sunfish.utils import UsageError

TOPOLOGY = Path("/sys/devices/system/cpu")  # Linux: which hardware threads share a core
CGROUP = Path("/sys/fs/cgroup")  # Linux: the limits of a container


def default_threads(topology: Path = TOPOLOGY, cgroup: Path = CGROUP) -> int:
    """Threads of a run that does not say how many: ``OMP_NUM_THREADS``, else one per core within the quota.

    Raises:
        UsageError: ``OMP_NUM_THREADS`` is no number of threads.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").strip()
    if not asked:
        return min(cores(topology), cpu_quota(cgroup))
    first = asked.partition(",")[0]  # one number for each level of nested parallelism
    if not first.isdigit() or int(first) < 1:
        raise UsageError(f"OMP_NUM_THREADS is {asked!r}; give a number of threads from 1, or unset it")
    return int(first)


def hardware_threads(cgroup: Path = CGROUP) -> int:
    """Hardware threads that this process may use within its quota; two per core with multithreading."""
    return min(len(_allowed()), cpu_quota(cgroup))


def cpu_quota(cgroup: Path = CGROUP) -> int:
    """Processors' worth of time that a container may use, rounded up; a large number where nothing limits it.

    Control groups, version 2 (``cpu.max``) and 1 (``cpu/cpu.cfs_quota_us``).
    """
    unlimited = 1_000_000
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((cgroup / f"cpu/cpu.cfs_{part}_us").read_text() for part in ("quota", "period"))
        except OSError:  # another system, or no control groups
            return unlimited
    if not quota.strip().isdigit() or int(period) < 1:  # "max", or -1
        return unlimited
    return max(1, math.ceil(int(quota) / int(period)))


def cores(topology: Path = TOPOLOGY) -> int:
    """Cores that this process may use, each counted once however many hardware threads it has.

    The threads of a core share its arithmetic units and its caches: a second one adds nothing to matrix
    products that keep the first busy, and halves the cache that their tiles were cut for. PyTorch's default,
    and its tuning guide, are one thread per core. Where the system does not say which threads share a core,
    each counts as one.
    """
    return len({_siblings(topology, number) for number in _allowed()})


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(topology: Path, number: int) -> str:
    """The hardware threads of the core of thread ``number``, as the system lists them."""
    try:
        return (topology / f"cpu{number}/topology/thread_siblings_list").read_text().strip() or str(number)
    except OSError:  # another system, or a container that hides it
        return str(number)


# How often a thread that has finished its part of an operation checks whether the others have, before it
# yields its core. GNU's OpenMP, which PyTorch uses, spins for milliseconds by default; when another program
# needs a core, the thread that all others wait for then gets none, and training becomes ten times slower
# (docs/experiments/2026-11-openmp-spin-count.md).
OMP_SPINCOUNT = 10_000


def limit_openmp_spin() -> None:
    """Make waiting threads yield sooner; call it before torch is loaded. What the environment sets stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(OMP_SPINCOUNT))


# <malloc.h> of the GNU C library, and the largest value of M_MMAP_THRESHOLD that all of its versions accept.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
TRIM_BYTES, MAX_HEAP_BLOCK_BYTES = 2**30, 2**25


def keep_malloc_pages() -> bool:
    """Let this process keep the pages it frees for its next step; whether the C library accepted that.

    Each training step frees its tensors and allocates as many again. The GNU C library returns large blocks
    to the system, which clears every page before handing it out again: 5 to 8% of a step. MALLOC_ variables
    in the environment take precedence.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library: macOS, musl, Windows
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAX_HEAP_BLOCK_BYTES) and mallopt(M_TRIM_THRESHOLD, TRIM_BYTES))
