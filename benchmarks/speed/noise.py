"""Owns the claim: the noise of a step costs a process the same, however many share the batch.

    ./run.sh benchmarks/speed/noise.py --threads 1

What a step of ``full`` draws on the CPU before its passes: times, dropped prompts, which tokens are masked. A process has
16 texts of 2,048 tokens; ``all`` draws the noise of every process. The ratio is its time to that of ``own``, which
draws that of its rows only.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.timing import interleave, ratio
from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.processes import build_process
from sunfish.rng import BatchNoise, make_generator
from sunfish.training.time_sampling import sample_training_times
from sunfish.types import Batch

ROWS, PROCESSES = 16, (1, 8, 64, 512)
SMOKE_ROWS, SMOKE_PROCESSES = 2, (1, 2)


def batch_of(rows: int, length: int) -> Batch:
    """Texts that fill their rows, without prompts."""
    ids = torch.ones(rows, length, dtype=torch.long)
    return Batch(ids, torch.full((rows,), length), ids[:, :1], ids[:, :1] > 0)


def draw(batch: Batch, config: Config, number: int) -> None:
    """The random numbers of step ``number``, for each block length of the configuration."""
    process = build_process(config.process, config.model.vocab_size)
    for block_length in config.training.block_lengths:
        generator = make_generator("noise", number, block_length)
        length = block_length or config.model.context_length
        sample_training_times(batch, length, process, config.training, generator)
        noise = BatchNoise(generator, batch.share)
        noise.uniform(len(batch.x0))
        for _ in ("masks", "corruption"):
            noise.uniform(*batch.x0.shape)


def measure(run: Run) -> None:
    """Time both forms for each number of processes."""
    config = preset("nano" if run.smoke else "full")
    run.header(torch.float32, "float64 numbers, by seconds of the processor")
    rows, steps = SMOKE_ROWS if run.smoke else ROWS, len(config.training.block_lengths)
    for processes in SMOKE_PROCESSES if run.smoke else PROCESSES:
        whole = batch_of(rows * processes, config.model.context_length)
        own = whole.part(range(0, rows * processes, processes), config.model.context_length)
        arms = {"own": partial(draw, own, config), "all": partial(draw, whole, config)}
        timed = interleave(arms, run.arguments.rounds, clock=time.process_time)
        seconds = {name: arm.median / steps for name, arm in timed.items()}
        run.add(
            {"processes": processes, "batch": f"{rows * processes} x {config.model.context_length}"},
            {
                "own_ms": 1e3 * seconds["own"],
                "all_ms": 1e3 * seconds["all"],
                "own_nanoseconds_per_token": 1e9 * seconds["own"] / own.x0.numel(),
                "ratio_to_all": ratio(seconds["all"], seconds["own"]),
            },
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--rounds", type=int, default=10, help="timed steps of each form (%(default)s)")


benchmark = Benchmark(
    "speed/noise",
    __doc__,
    measure,
    claim="the noise of a step costs a process the same, however many share the batch",
    peer="drawing the noise of the whole batch, and keeping one's rows",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
