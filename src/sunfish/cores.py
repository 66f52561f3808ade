"""Which processor cores there are to use, and how threads share them; apart from the rest, for it must not load torch."""

from __future__ import annotations

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
