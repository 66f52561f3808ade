"""Processor cores, how threads share them, and what memory a process keeps; apart from the rest: it loads no torch."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")  # Linux: which hardware threads share a core


def hardware_threads() -> int:
    """Hardware threads that this process may use: two for each core of a processor with simultaneous multithreading."""
    return len(_allowed())


def cores(topology: Path = TOPOLOGY) -> int:
    """Cores that this process may use, each counted once however many hardware threads it has.

    The threads of a core share its arithmetic and its caches: a second one adds nothing to matrix products that keep the
    first busy, and halves the cache that their tiles were cut for. PyTorch's own default, and its tuning guide, are one
    thread a core. Where the system does not say which threads share a core, each counts as one.
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


# A thread that has done its part of an operation looks so often whether the others have done theirs, before it lets
# go of its core. GNU's OpenMP, which PyTorch's threads are, looks for milliseconds; where another program needs a core,
# the thread that all wait for then gets none, and training becomes ten times slower (benchmarks/beside_others.py).
SPINS = 10_000


def share_cores() -> None:
    """Let waiting threads go sooner; before torch is loaded. What the environment says already stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


# <malloc.h> of the GNU C library, and the largest value that all of its versions take for the second.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT, LARGEST_ON_THE_HEAP = 2**30, 2**25


def keep_memory() -> bool:
    """Let this process keep what it has freed, for its next step; whether the C library can be told so.

    Each training step frees its tensors and asks for as many again. The GNU C library gives large blocks back to the
    system, which clears every page before it hands it out again: 5 to 8 % of a step. What MALLOC_ variables of the
    environment say already stays.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library: macOS, musl, Windows
        return False
    return bool(tell(M_MMAP_THRESHOLD, LARGEST_ON_THE_HEAP) and tell(M_TRIM_THRESHOLD, KEPT))
