"""Owns the claim: a training step runs near the rate of the machine's matrix products.

    ./run.sh benchmarks/speed/training_rate.py --config micro --batch_size 4
    ./run.sh benchmarks/speed/training_rate.py --config micro --batch_size 4 --activation_checkpointing
    ./run.sh benchmarks/speed/training_rate.py --config base --device cuda --compile

Steps of the real trainer on full rows (no padding, prompts of 16 tokens), each block length of the preset's
mixture once a round, in turn with a large matrix product in the same number format: the peer is the machine
itself. Arithmetic is counted while a step runs (products and attention only, forward and backward, every pair
of positions whether visible or not), not estimated. A profile says how long the products take by themselves
(on a CPU) and what else takes time. Memory is the largest resident size of this process, on a GPU the largest
that was allocated there, next to the pre-flight's estimate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.rank_steps import peak_bytes
from benchmarks.speed.arithmetic import PRODUCTS, count_flops, optimizer_seconds, self_seconds
from benchmarks.timing import interleave, ratio
from benchmarks.workload import NEVER, config_of, full_rows
from sunfish.config import Config
from sunfish.hardware.device import matmul_rate
from sunfish.training.rank_memory import training_memory
from sunfish.training.trainer import Trainer

MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}
SMOKE_MATMUL_SIZE = 64
SHOWN = 14  # operations of the profile


def tokens_a_step(config: Config) -> int:
    """Tokens of text in a step on full rows."""
    return config.training.batch_size * config.model.context_length


def rounds_of(config: Config) -> Callable[[], None]:
    """A round of steps of a new trainer, one for each block length of the mixture; the first round is run."""
    trainer = Trainer(config)

    def steps() -> None:
        for _ in config.training.block_lengths:
            trainer.train_step()

    steps()
    return steps


def measure(run: Run) -> None:
    """Step, count, profile."""
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(run).with_fields(max_steps=NEVER, max_minutes=0.0)
        config = full_rows(config, Path(folder))
        begin = run.clock()
        trainer = Trainer(config)
        ready = run.clock() - begin
        run.header(
            trainer.dtype,
            f"trainer ready after {ready:.1f} s",
            model=config.training.name,
            batch=f"{config.training.batch_size} x {config.model.context_length}",
            compile=config.training.compile,
        )
        mixture = len(config.training.block_lengths)

        def steps() -> None:
            for _ in range(mixture):
                trainer.train_step()

        size = SMOKE_MATMUL_SIZE if run.smoke else MATMUL_SIZE[run.device.type]
        rates: list[float] = []
        seconds = 0.02 if run.smoke else 0.5
        timed = interleave(
            {
                "step": lambda _: steps(),
                "product": lambda _: rates.append(matmul_rate(trainer.dtype, size, seconds, run.device)),
            },
            1 if run.smoke else run.arguments.rounds,
            clock=run.clock,
        )
        memory = peak_bytes(run.device)  # before counting and profiling take memory of their own
        figures = step_figures(config, timed["step"].median / mixture, rates, memory, trainer.dtype)
        figures["mean_tokens_per_second"] = tokens_a_step(config) * mixture / mean(timed["step"].seconds)
        run.add({}, figures)
        with optimizer_seconds(run.clock) as optimizing:
            steps()
        report_profile(run, config, self_seconds(steps, run.device), optimizing)


def step_figures(
    config: Config, seconds: float, rates: list[float], memory: float, dtype: torch.dtype
) -> dict[str, float | None]:
    """The figures of a step.

    Args:
        config: The run.
        seconds: Of a step, the mean over the mixture of block lengths.
        rates: GFLOP/s of the machine's products, round by round.
        memory: Peak bytes.
        dtype: What the network computes in.
    """
    # A compiled trainer hides its products.
    flops, attention = count_flops(rounds_of(config.with_fields(compile=False)))
    flops, attention = (
        flops / len(config.training.block_lengths),
        attention / len(config.training.block_lengths),
    )
    machine = median(rates)
    estimate = training_memory(config, dtype=dtype)
    return {
        "tokens_per_second": tokens_a_step(config) / seconds,
        "milliseconds": 1e3 * seconds,
        "gflop": flops / 1e9,
        "gflop_per_second": flops / seconds / 1e9,
        "machine_gflop_per_second": machine,
        "ratio": ratio(flops / seconds / 1e9, machine),
        "ratio_without_attention": ratio((flops - attention) / seconds / 1e9, machine),
        "peak_mib": memory / 2**20,
        "estimated_mib": estimate / 2**20,
        "estimate_ratio": ratio(estimate, memory),
    }


def report_profile(run: Run, config: Config, taken: dict[str, float], optimizing: dict[str, float]) -> None:
    """Say what a step's time is made of, in ms a step."""
    scale = 1e3 / len(config.training.block_lengths)
    products = sum(taken.get(name, 0.0) for name in PRODUCTS)
    if products:
        run.say(f"products by themselves: {scale * products:.1f} ms")
    run.say("optimizers: " + ", ".join(f"{name} {scale * s:.1f} ms" for name, s in optimizing.items()))
    rest = sorted(((s, name) for name, s in taken.items() if name not in PRODUCTS), reverse=True)
    run.say(
        "the rest, in ms: "
        + ", ".join(f"{n.removeprefix('aten::')[:60]} {scale * s:.1f}" for s, n in rest[:SHOWN])
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds of the mixture of block lengths (%(default)s)"
    )


benchmark = Benchmark(
    "speed/training_rate",
    __doc__,
    measure,
    claim="a training step runs near the rate of the machine's matrix products",
    peer="a large matrix product in the same number format, in turn with the steps",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
