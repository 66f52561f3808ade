"""Owns the claim: one joint step costs far less than a step of the canvas and one of the next token.

    ./run.sh benchmarks/speed/joint_step.py --config tiny --rounds 40

Forward and backward passes of the preset's own loss on full rows, without the optimizers, each block length
of the mixture in turn. The peers are the same network with ``next_token_weight`` 0 and the whole text as one
block (one canvas pass), and with ``next_token_weight`` 1 (one causal pass).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.frame import Benchmark, Run
from benchmarks.timing import interleave, ratio
from benchmarks.workload import config_of, full_rows, prepared_corpus, train_batches
from sunfish.config import Config, TrainingConfig
from sunfish.hardware.device import autocast, choose_precision
from sunfish.model.transformer import build_model
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.training.loss import training_loss


def step_of(run: Run, config: Config, folder: Path) -> Callable[[TrainingConfig, int], None]:
    """One forward and backward pass with some settings, as step number ``n``."""
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process).init_weights(make_generator("joint_step", run.seed)).to(run.device)
    process = process.with_embeddings(model.token_embedding)
    prepared = prepared_corpus(full_rows(config, folder))
    batch = train_batches(prepared, config.training.batch_size, run.seed).batch(0).to(run.device)
    dtype = choose_precision(config.training.precision, run.device)
    size = f"{config.training.batch_size} x {config.model.context_length}"
    run.header(dtype, model=config.training.name, batch=size)

    def step(training: TrainingConfig, number: int) -> None:
        lengths = training.block_lengths
        block = lengths[number % len(lengths)] or config.model.context_length
        with autocast(run.device, dtype):
            losses = training_loss(model, process, batch, make_generator(number), block, training)
        losses.total.backward()
        model.zero_grad(set_to_none=True)

    return step


def measure(run: Run) -> None:
    """Step in turn."""
    config = config_of(run)
    joint = config.training
    arms = {
        "canvas alone": replace(joint, next_token_weight=0.0, block_lengths=(0,)),
        "next token alone": replace(joint, next_token_weight=1.0),
        "joint": joint,
    }
    with tempfile.TemporaryDirectory() as folder:
        step = step_of(run, config, Path(folder))
        timed = interleave(
            {name: partial(step, training) for name, training in arms.items()},
            len(joint.block_lengths) if run.smoke else run.arguments.rounds,
            warmup=len(joint.block_lengths),
            clock=run.clock,
        )
    canvas, causal = timed["canvas alone"].median, timed["next token alone"].median
    for name, arm in timed.items():
        run.add(
            {"step": name},
            {
                "milliseconds": 1e3 * arm.median,
                "ratio_to_canvas": ratio(arm.median, canvas),
                "ratio_to_both": ratio(arm.median, canvas + causal),
            },
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--rounds", type=int, default=40, help="timed steps of each form (%(default)s)")


benchmark = Benchmark(
    "speed/joint_step",
    __doc__,
    measure,
    claim="a joint step costs less than a canvas step and a next-token step",
    peer="the same network with the canvas alone, and with the next token alone",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
