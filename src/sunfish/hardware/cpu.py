"""Processor cores, how threads share them, and what memory a process keeps. Imports no torch."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sunfish.utils import UsageError

TOPOLOGY = Path("/sys/devices/system/cpu")  # Linux: which hardware threads share a core
CGROUP = Path("/sys/fs/cgroup")  # Linux: the limits of a container
OWN_GROUPS = Path("/proc/self/cgroup")  # Linux: the control groups of this process
UNLIMITED = 1_000_000  # processors


def default_threads(topology: Path = TOPOLOGY, cgroup: Path = CGROUP, own: Path = OWN_GROUPS) -> int:
    """Threads of a run that does not say how many.

    ``OMP_NUM_THREADS`` or ``MKL_NUM_THREADS`` says it; else one per core, within what the container and Slurm
    grant.

    Raises:
        UsageError: one of them is no number of threads.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if asked := _threads_of(name):
            return asked
    return min(cores(topology), _granted(cgroup, own))


def hardware_threads(cgroup: Path = CGROUP, own: Path = OWN_GROUPS) -> int:
    """Hardware threads that this process may use within what is granted; two per core with multithreading."""
    return min(len(_allowed()), _granted(cgroup, own))


def _granted(cgroup: Path, own: Path) -> int:
    """Processors that the container's quota and Slurm's allocation leave to this process."""
    return min(cpu_quota(cgroup, own), _threads_of("SLURM_CPUS_PER_TASK") or UNLIMITED)


def _threads_of(name: str) -> int:
    """The number of threads in the environment variable ``name``; 0 where it is not set.

    Raises:
        UsageError: it is no number of threads.
    """
    asked = os.environ.get(name, "").strip()
    if not asked:
        return 0
    first = asked.partition(",")[0].strip()  # one number for each level of nested parallelism
    if not (first.isascii() and first.isdigit() and int(first[:9]) >= 1 and len(first) < 9):
        raise UsageError(f"{name} is {asked[:40]!r}; give a number of threads from 1, or unset it")
    return int(first)


def cpu_quota(cgroup: Path = CGROUP, own: Path = OWN_GROUPS) -> int:
    """Processors' worth of time that this process may use, rounded up; ``UNLIMITED`` where nothing limits it.

    The smallest quota of its control group and of all groups above it, version 2 (``cpu.max``) and 1
    (``cpu/cpu.cfs_quota_us``). A container sees its own group as the uppermost one.
    """
    quotas = [UNLIMITED]
    for folder in _groups(cgroup, own):
        try:
            words = (folder / "cpu.max").read_text().split()
        except OSError:  # version 1, another system, or no such group in this container
            try:
                words = [(folder / f"cpu.cfs_{part}_us").read_text() for part in ("quota", "period")]
            except OSError:
                continue
        try:
            quota, period = int(words[0]), int(words[1]) if len(words) > 1 else 100_000
        except (ValueError, IndexError):  # "max"
            continue
        if quota > 0 and period > 0:  # version 1 has -1 for no limit
            quotas.append(math.ceil(quota / period))
    return min(quotas)


def _groups(cgroup: Path, own: Path) -> Iterator[Path]:
    """The folders that may hold a quota of this process, from its own group up."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", "0:cpu:/"]:
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in {controllers, "cpu"} if controllers else {""}:
            group = PurePosixPath("/", path)
            for part in (group, *group.parents):
                yield cgroup / root / str(part).lstrip("/")


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


# A bfloat16 product keeps a compiled kernel for every shape that it meets, half a megabyte each. Two caches keep 1,024
# of them each, and what comes and goes in them leaves gaps in the heap: 3.9 GB for `small` after half an hour. One step
# needs 80 shapes, and compiling takes under a millisecond (docs/experiments/2026-11-memory-and-time.md).
KERNELS_KEPT = 256
KERNEL_CACHE_BYTES = KERNELS_KEPT * 2**19
KERNEL_CACHES = {  # of oneDNN, and of PyTorch's layer above it: the names of each, of which the first is set
    "oneDNN": ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"),
    "ideep": ("LRU_CACHE_CAPACITY",),
}


def limit_kernel_caches() -> None:
    """Keep ``KERNELS_KEPT`` compiled kernels; call it before the first product. What the environment sets stays."""
    for names in KERNEL_CACHES.values():
        if not any(name in os.environ for name in names):
            os.environ[names[0]] = str(KERNELS_KEPT)


def release_free_pages() -> bool:
    """Give what this process has freed back to the system; whether the C library can."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library: macOS, musl, Windows
        return False
    trim(0)
    return True
