"""Owns the claim: a run has the same losses on any number of processes, whatever they share and in how many parts.

    ./run.sh benchmarks/quality/process_count.py --config nano --threads 1

The same 50 steps in one process, then in one, two and four with ddp and fsdp, in one part and in two. The figure is the
largest difference of a step's loss from that of one process. It exits with 1 where one is above 1e-5.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.frame import Benchmark, Run
from benchmarks.ranks import RankedRun
from benchmarks.smoke import STORIES
from benchmarks.workload import NEVER, config_of
from sunfish.config import Config
from sunfish.config.training import PARALLEL
from sunfish.hardware.device import PRECISIONS

LIMIT = 1e-5
SMOKE_STEPS = 2


def losses_of(config: Config, processes: int, steps: int) -> list[float]:
    """The loss of each step, as the main process has it."""
    with RankedRun(config, processes) as run:
        return run.steps(steps)[0].losses


def ways(run: Run) -> Iterator[tuple[int, str, int]]:
    """Numbers of processes, what they share, and parts of a step."""
    if run.smoke:
        yield 2, "fsdp", 2
    else:
        yield from itertools.product(run.arguments.processes, PARALLEL, (1, 2))


def measure(run: Run) -> None:
    """Train every way."""
    with tempfile.TemporaryDirectory() as folder:
        fields = {"checkpoints": folder, "data_folder": str(Path(folder) / "data")}
        config = config_of(run, "nano", batch_size=8, precision="float32", stories=STORIES, **fields)
        config = config.with_fields(max_steps=NEVER, max_minutes=0.0, threads=1)
        if run.smoke:
            config = config.with_fields(batch_size=4)
        steps = SMOKE_STEPS if run.smoke else run.arguments.steps
        run.header(PRECISIONS["float32"], model=config.training.name, steps=steps)
        expected = losses_of(config, 1, steps)
        for processes, parallel, parts in ways(run):
            shared = config.with_fields(parallel=parallel, gradient_accumulation=parts)
            losses = losses_of(shared, processes, steps)
            difference = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
            case = {"processes": processes, "parallel": parallel, "gradient_accumulation": parts}
            run.add(case, {"largest_difference": difference, "last_loss": losses[-1]})
            if difference > LIMIT:
                run.exit_code = 1


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--steps", type=int, default=50, help="steps of each run (%(default)s)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="(1 2 4)")


benchmark = Benchmark(
    "quality/process_count",
    __doc__,
    measure,
    claim="a run has the same losses on any number of processes, to 1e-5",
    peer="one process that holds everything and computes a step in one part",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
