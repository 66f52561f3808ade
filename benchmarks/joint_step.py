"""What learning both at once costs: a step of the joint objective against a step of the canvas or the next token alone.

    ./run.sh benchmarks/joint_step.py --config tiny --rounds 10

Forward and backward passes of the preset's own objective on full rows, each block length of its mixture in turn,
without the optimizers. The peers are the same network with ``--next_token_weight 0``, the whole text as one block (one
canvas pass), and with ``--next_token_weight 1`` (one reading pass). All take turns; the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median

import torch
from common import with_training_flags
from training_rate import FullRows

from sunfish.commands.flags import config_of
from sunfish.config import TrainingConfig
from sunfish.hardware.device import choose_precision, set_threads
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.rng import generator_of
from sunfish.training.loss import objective


def main() -> None:
    """Parse, step in turn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="rounds of the mixture of block lengths")
    arguments, chosen = with_training_flags(parser)
    config = config_of(chosen)
    threads = set_threads(config.training.threads)
    device = torch.device("cpu")
    dtype = choose_precision(config.training.precision, device)
    model = Transformer(config.model).initialise(generator_of("joint"))
    process, batch = build_process(config.process), FullRows(config).one
    joint = config.training
    arms: dict[str, TrainingConfig] = {
        "canvas alone": replace(joint, next_token_weight=0.0, block_lengths=(0,)),
        "next token alone": replace(joint, next_token_weight=1.0),
        "joint": joint,
    }

    def step(training: TrainingConfig, number: int) -> None:
        block = training.block_lengths[number % len(training.block_lengths)]
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            losses = objective(model, process, batch, generator_of(number), block, training)
        losses.total.backward()
        model.zero_grad(set_to_none=True)

    seconds: dict[str, list[float]] = {name: [] for name in arms}
    mixture = len(joint.block_lengths)
    for number in range((arguments.rounds + 1) * mixture):
        for name, training in arms.items():
            begin = time.perf_counter()
            step(training, number)
            if number >= mixture:  # the first round warms up
                seconds[name].append(time.perf_counter() - begin)
    single = median(seconds["canvas alone"])
    print(
        f"{joint.name}, batch {joint.batch_size} x {config.model.context_length}, {threads} threads, "
        f"{str(dtype).removeprefix('torch.')}"
    )
    for name, own in seconds.items():
        print(f"{name:<18} {1e3 * median(own):8.1f} ms a step   ratio {median(own) / single:.2f}")


if __name__ == "__main__":
    main()
