"""Owns the claim: two processes of one thread train at 90% or more of twice the rate of one, as the formula says.

    ./run.sh benchmarks/speed/two_processes.py --config small --batch_size 4 --threads 1

One process, and two that share its batch or have as large a batch each, take turns on full rows; medians over rounds.

- share_of_twice: by the wall clock, which needs two free cores.
- cpu_share: by the processor seconds of a token, of which a process that waits for another one takes none. So it says
  what sharing costs beside waiting, on any machine.
- bytes_ratio, time_ratio: the formula of docs/scaling.md beside the bytes that the system counts on the connections,
  and beside the step. The step is predicted from that of one process and from the loopback device, which all-reduces of
  one number and of four million measure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.frame import Benchmark, Run
from benchmarks.ranks import RankedRun, Steps
from benchmarks.timing import interleave, ratio
from benchmarks.workload import NEVER, config_of, full_rows
from sunfish.config import Config
from sunfish.config.training import PARALLEL
from sunfish.hardware.cpu import cores
from sunfish.hardware.device import choose_precision
from sunfish.training.communication import Link, bytes_sent, step_time
from sunfish.training.optimizer import UPDATE_INTERVAL

ONE = "one"


class Rates(NamedTuple):
    """Medians over the rounds: seconds and bytes sent of a step, tokens a second, tokens a processor second."""

    seconds: float
    sent: float
    by_wall: float
    by_processor: float

    @staticmethod
    def of(rounds: list[list[Steps]]) -> Rates:
        """From what each process took in each round."""
        count = len(rounds[0][0].losses)
        return Rates(
            median(max(one.seconds for one in steps) for steps in rounds) / count,
            median(steps[0].sent_bytes for steps in rounds) / count,
            median(steps[0].tokens / max(one.seconds for one in steps) for steps in rounds),
            median(steps[0].tokens / sum(one.cpu_seconds for one in steps) for steps in rounds),
        )


def measure(run: Run) -> None:
    """Let the runs take turns, for each way to share."""
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(run, "small", batch_size=4)
        config = config.with_fields(max_steps=NEVER, max_minutes=0.0, threads=1, parallel="ddp")
        config = full_rows(config, Path(folder))
        dtype = choose_precision(config.training.precision, run.device)
        config = config.with_fields(precision=str(dtype).removeprefix("torch."))
        run.header(
            dtype,
            f"{cores()} cores; what the wall clock says is true only where two are free",
            model=config.training.name,
            batch=f"{config.training.batch_size} x {config.model.context_length}",
        )
        for parallel in PARALLEL[: 1 if run.smoke else None]:
            compare(run, config, parallel, dtype.itemsize)


def compare(run: Run, config: Config, parallel: str, number: int) -> None:
    """Time the runs of one kind, and add a result for each of two processes."""
    shared = config.with_fields(parallel=parallel)
    runs = {"same batch": shared}
    if not run.smoke:
        runs["same batch each"] = shared.with_fields(batch_size=2 * config.training.batch_size)
    # As many steps as let every matrix have its turn with every block length.
    count = 1 if run.smoke else UPDATE_INTERVAL * len(config.training.block_lengths)
    with ExitStack() as stack:
        started = {ONE: stack.enter_context(RankedRun(config, 1))}
        started |= {name: stack.enter_context(RankedRun(both, 2)) for name, both in runs.items()}

        def arm(name: str) -> Callable[[int], list[Steps]]:
            return lambda _: started[name].steps(count)

        timed = interleave({name: arm(name) for name in started}, 1 if run.smoke else run.arguments.rounds)
        link = started["same batch"].link()
    rates = {name: Rates.of(taken.values) for name, taken in timed.items()}
    for name, both in runs.items():
        run.add(
            {"parallel": parallel, "two": name}, figures(config, both, rates[ONE], rates[name], link, number)
        )


def figures(
    config: Config, both: Config, one: Rates, two: Rates, link: Link, number: int
) -> dict[str, float | None]:
    """Two processes beside one, and beside the formula.

    Args:
        config: The run of one process.
        both: That of two.
        one: What the one did.
        two: What the two did.
        link: What connects them.
        number: Bytes of a number in which the network computes.
    """
    length = config.model.context_length
    rate = step_time(config, 1, length, 1.0, link).compute / one.seconds
    predicted = step_time(both, 2, length, rate, link, number).serial
    return {
        "tokens_per_second": two.by_wall,
        "share_of_twice": ratio(two.by_wall, 2 * one.by_wall),
        "cpu_share": ratio(two.by_processor, one.by_processor),
        "sent_mb": two.sent / 1e6,
        "bytes_ratio": ratio(bytes_sent(both, 2, number, link.reduce_scatters), two.sent),
        "link_mb_per_second": link.bytes_per_second / 1e6,
        "hop_microseconds": 1e6 * link.latency,
        "predicted_seconds": predicted,
        "seconds": two.seconds,
        "time_ratio": ratio(predicted, two.seconds),
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--rounds", type=int, default=3, help="rounds of twelve steps (%(default)s)")


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
