"""Processor cores, how threads share them, and what memory a process keeps; apart from the rest: it loads no torch."""

from __future__ import annotations

import ctypes
import os


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
