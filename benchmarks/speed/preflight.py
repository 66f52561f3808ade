"""The pre-flight beside the run: estimated and measured peak memory, and tokens/s, of one preset and number format.

./run.sh benchmarks/speed/preflight.py --config small --precision bfloat16 --threads 1

The estimates are made first, as ``sunfish train`` makes them. Then a trainer takes steps whose batches have the
lengths of a whole epoch, the longest ones included, and validates, samples and saves. So a few minutes meet the
shapes of hours. Memory is the largest resident size of this process; growth is what its last half adds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.frame import Benchmark, Run
from benchmarks.rank_steps import peak_bytes
from benchmarks.timing import ratio
from benchmarks.workload import NEVER, config_of
from sunfish.config import Config
from sunfish.hardware.device import choose_precision
from sunfish.training.preflight import memory_needed
from sunfish.training.text_lengths import text_lengths
from sunfish.training.throughput import estimate_throughput
from sunfish.training.trainer import Trainer

SEARCHED, LONGEST = (
    2000,
    2,
)  # batches that are looked at, and how many of the longest of each block length are taken
SMOKE_STORIES = 500
WARM_UP = 4  # steps that compile kernels


def longest_steps(trainer: Trainer, config: Config) -> list[int]:
    """Numbers of the steps with the longest texts, for each place in the mixture of block lengths."""
    lengths, mixture = trainer.batches.split.lengths, len(config.training.block_lengths)
    longest = {step: int(lengths[trainer.batches.row_numbers(step)].max()) for step in range(SEARCHED)}
    chosen: list[int] = []
    for place in range(mixture):
        steps = range(place, SEARCHED, mixture)
        chosen += sorted(steps, key=longest.__getitem__)[-LONGEST:]
    return chosen


def measure(run: Run) -> None:
    """Estimate, then train."""
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(run).with_fields(max_steps=NEVER, max_minutes=0.0, checkpoints=folder)
        if run.smoke:
            config = config.with_fields(data_folder=str(Path(folder) / "data"), stories=SMOKE_STORIES)
        dtype = choose_precision(config.training.precision, run.device)
        begin = run.clock()
        speed = estimate_throughput(run.device, dtype, config)[""]
        seconds = run.clock() - begin
        run.header(dtype, f"estimated in {seconds:.1f} s", model=config.training.name)
        trainer = Trainer(config)
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        estimate = memory_needed(config, parameters, text_lengths(config), dtype, run.device)
        steps = 2 * WARM_UP if run.smoke else run.arguments.steps
        rates, half = train(trainer, run, steps)
        for step in longest_steps(trainer, config) if not run.smoke else ():
            trainer.step = step
            trainer.train_step()
        trainer.validate()
        trainer.sample()
        trainer.save()
        peak = peak_bytes(run.device)
        figures = {
            "estimated_mib": estimate / 2**20,
            "peak_mib": peak / 2**20,
            "memory_ratio": ratio(estimate, peak),
        }
        figures |= {"half_mib": half / 2**20, "seconds": seconds}
        figures |= {
            "estimated_tokens_per_second": speed,
            "tokens_per_second": rates,
            "speed_ratio": ratio(speed, rates),
        }
        run.add({}, figures)


def train(trainer: Trainer, run: Run, steps: int) -> tuple[float, float]:
    """Take ``steps`` steps; tokens a second after the warm-up, and the peak bytes after half of them."""
    half, seconds, tokens = 0.0, 0.0, 0
    for number in range(steps):
        begin, before = run.clock(), trainer.tokens
        trainer.train_step()
        if number >= WARM_UP:
            seconds += run.clock() - begin
            tokens += trainer.tokens - before
        if number == steps // 2:
            half = peak_bytes(run.device)
    return tokens / seconds, half


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--steps", type=int, default=200, help="steps of the run (%(default)s)")


benchmark = Benchmark(
    "speed/preflight",
    __doc__,
    measure,
    claim="the pre-flight knows the peak memory within 15% and the tokens/s within 25%",
    peer="the run itself, in the same process",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
