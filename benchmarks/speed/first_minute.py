"""Owns the claim: a fresh process shows the first words of a text within five seconds, with no training.

    ./run.sh benchmarks/speed/first_minute.py --rounds 5

Each run is a process of its own in an empty folder: ``sunfish demo``, timed to the first state of its text
that has words, to the end of the text, and to the end of the process. The peer is ``python -c 'import
torch'``, which any program of this kind has to wait for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.children import run_child
from benchmarks.frame import Benchmark, Run
from benchmarks.timing import interleave, ratio
from sunfish.checkpoint.packaged import DEMO


class Moments(NamedTuple):
    """Seconds after the start of a process."""

    first_words: float
    text: float
    end: float


def moments(clock: Callable[[], float], folder: str, threads: int) -> Moments:
    """Start ``sunfish demo`` in ``folder`` and listen.

    Raises:
        ValueError: It failed.
    """
    begin = clock()
    process = subprocess.Popen(
        [sys.executable, "-m", "sunfish", DEMO],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    times: list[float] = []
    with process.stdout as lines:
        for line in lines:
            if line.startswith("filling the gap") or (not times and not line.startswith("prompt:")):
                times.append(clock() - begin)
    if process.wait() or len(times) != 2:
        raise ValueError(f"sunfish {DEMO} ended with {process.returncode} after {len(times)} of 2 moments")
    return Moments(*times, clock() - begin)


def measure(run: Run) -> None:
    """Start the processes in turn."""
    rounds = 1 if run.smoke else run.arguments.rounds
    run.header(torch.float32, f"median of {rounds}", model=DEMO)
    environment = {"OMP_NUM_THREADS": str(run.threads)}
    with tempfile.TemporaryDirectory() as folder:
        arms = {
            "demo": lambda _: moments(run.clock, folder, run.threads),
            "torch": partial(_import_torch, environment),
        }
        timed = interleave(arms, rounds, warmup=0 if run.smoke else 1)
    figures = {
        f"{name}_seconds": median(getattr(value, name) for value in timed["demo"].values)
        for name in Moments._fields
    }
    torch_seconds = timed["torch"].median
    run.add(
        {},
        {
            **figures,
            "import_torch_seconds": torch_seconds,
            "ratio": ratio(figures["first_words_seconds"], torch_seconds),
        },
    )


def _import_torch(environment: dict[str, str], _: int) -> None:
    run_child([sys.executable, "-c", "import torch"], env=environment)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--rounds", type=int, default=5, help="processes of each (%(default)s)")


benchmark = Benchmark(
    "speed/first_minute",
    __doc__,
    measure,
    claim="the first words of sunfish demo come within five seconds of a cold start",
    peer="python -c 'import torch'",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
