"""Owns the claim: two processes of one thread train at 90% or more of twice the rate of one.

    ./run.sh benchmarks/speed/two_processes.py --config small --batch_size 4 --threads 1

One process, and two that share its batch or have as large a batch each, take turns on full rows. The rate is by the wall
clock, and needs two free cores. The processor seconds of a token say what sharing costs beside waiting, on any machine:
a process that waits for another one takes none. Both are medians over the rounds, as a share of one process's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.frame import Benchmark, Run
from benchmarks.ranks import RankedRun, Steps
from benchmarks.timing import interleave, ratio
from benchmarks.workload import NEVER, config_of, full_rows
from sunfish.config import Config
from sunfish.config.training import PARALLEL
from sunfish.hardware.cpu import cores
from sunfish.hardware.device import choose_precision


def runs_of(config: Config, parallel: str) -> dict[str, tuple[Config, int]]:
    """One process, two that share its batch, two with as large a batch each."""
    both = config.with_fields(parallel=parallel)
    return {
        "one": (config, 1),
        "same batch": (both, 2),
        "same batch each": (both.with_fields(batch_size=2 * config.training.batch_size), 2),
    }


def rates(rounds: list[list[Steps]]) -> tuple[float, float]:
    """Medians over the rounds: tokens a second, and tokens a processor second of all processes."""
    walls = [steps[0].tokens / max(one.seconds for one in steps) for steps in rounds]
    busy = [steps[0].tokens / sum(one.cpu_seconds for one in steps) for steps in rounds]
    return median(walls), median(busy)


def measure(run: Run) -> None:
    """Let the runs take turns."""
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(run, "small", batch_size=4).with_fields(
            max_steps=NEVER, max_minutes=0.0, threads=1, parallel="ddp"
        )
        config = full_rows(config, Path(folder))
        dtype = choose_precision(config.training.precision, run.device)
        config = config.with_fields(precision=str(dtype).removeprefix("torch."))
        run.header(
            dtype,
            f"{cores()} cores; the rate by the wall clock is true only where two are free",
            model=config.training.name,
            batch=f"{config.training.batch_size} x {config.model.context_length}",
        )
        for parallel in PARALLEL[: 1 if run.smoke else None]:
            compare(run, parallel, runs_of(config, parallel))


def compare(run: Run, parallel: str, runs: dict[str, tuple[Config, int]]) -> None:
    """Time the runs of one kind, and add a result for each of two processes."""
    count = len(runs["one"][0].training.block_lengths)
    with ExitStack() as stack:
        started = {name: stack.enter_context(RankedRun(*how)) for name, how in runs.items()}

        def arm(name: str) -> Callable[[int], list[Steps]]:
            return lambda _: started[name].steps(1 if run.smoke else count)

        timed = interleave({name: arm(name) for name in runs}, 1 if run.smoke else run.arguments.rounds)
    wall, busy = rates(timed["one"].values)
    for name in list(runs)[1:]:
        wall_of_two, busy_of_two = rates(timed[name].values)
        figures = {
            "tokens_per_second": wall_of_two,
            "one_tokens_per_second": wall,
            "share_of_twice": ratio(wall_of_two, 2 * wall),
            "tokens_per_cpu_second": busy_of_two,
            "one_tokens_per_cpu_second": busy,
            "cpu_share": ratio(busy_of_two, busy),
        }
        run.add({"parallel": parallel, "two": name}, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of the mixture of block lengths (%(default)s)"
    )


benchmark = Benchmark(
    "speed/two_processes",
    __doc__,
    measure,
    claim="two processes of one thread train at 90% or more of twice the rate of one",
    peer="one process of one thread, in turn with them",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
