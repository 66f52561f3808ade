"""Owns the claim: the formula of docs/scaling.md knows what two processes send in a step, and how long the step takes.

    ./run.sh benchmarks/speed/communication.py --config small --batch_size 4 --threads 1

Two processes talk over the loopback device. Bytes are counted by the system, connection by connection, and are right on
a busy machine. The link is measured by all-reduces of one number and of four million. The step is predicted from one
process's, whose batch is half as large, and from the link; that needs two free cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.frame import Benchmark, Run
from benchmarks.ranks import RankedRun
from benchmarks.timing import interleave, ratio
from benchmarks.workload import NEVER, config_of, full_rows
from sunfish.config import Config
from sunfish.config.training import PARALLEL
from sunfish.hardware.device import PRECISIONS
from sunfish.training.communication import bytes_sent, step_time
from sunfish.training.optimizer import UPDATE_INTERVAL

FLOAT32 = 4


def measure(run: Run) -> None:
    """Compare each way to share."""
    with tempfile.TemporaryDirectory() as folder:
        fields = {"precision": "float32", "max_steps": NEVER, "max_minutes": 0.0, "threads": 1}
        config = config_of(run, "small", batch_size=4).with_fields(**fields)
        config = full_rows(config, Path(folder))
        run.header(PRECISIONS["float32"], model=config.training.name, batch=config.training.batch_size)
        for parallel in PARALLEL:
            compare(run, config.with_fields(parallel=parallel))


def compare(run: Run, config: Config) -> None:
    """Predict and measure the steps of two processes."""
    # As many steps as let every matrix have its turn with every block length.
    count = 1 if run.smoke else UPDATE_INTERVAL * len(config.training.block_lengths)
    half = config.with_fields(batch_size=config.training.batch_size // 2, parallel="ddp")
    with RankedRun(half, 1) as one, RankedRun(config, 2) as two:
        link = two.link()
        arms = {"one": lambda _: one.steps(count), "two": lambda _: two.steps(count)}
        timed = interleave(arms, 1 if run.smoke else run.arguments.rounds)
    length = config.model.context_length
    alone = median(steps[0].seconds for steps in timed["one"].values) / count
    rate = step_time(half, 1, length, 1.0, link).compute / alone
    predicted = step_time(config, 2, length, rate, link, FLOAT32)
    taken = median(max(one.seconds for one in steps) for steps in timed["two"].values) / count
    sent = median(steps[0].sent_bytes for steps in timed["two"].values) / count
    formula = bytes_sent(config, 2, FLOAT32)
    figures = {
        "predicted_mb": formula / 1e6,
        "sent_mb": sent / 1e6,
        "bytes_ratio": ratio(formula, sent),
        "mb_per_second": link.bytes_per_second / 1e6,
        "microseconds_a_hop": 1e6 * link.latency,
        "one_seconds": alone,
        "predicted_seconds": predicted.serial,
        "seconds": taken,
        "time_ratio": ratio(predicted.serial, taken),
    }
    run.add({"parallel": config.training.parallel}, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--rounds", type=int, default=3, help="rounds of twelve steps (%(default)s)")


benchmark = Benchmark(
    "speed/communication",
    __doc__,
    measure,
    claim="the formula of docs/scaling.md knows the bytes and the seconds of a step of two processes within 15%",
    peer="what the system counts, and the wall clock",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
