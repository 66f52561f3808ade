"""How much of the machine a training step uses, and what memory it takes.

    ./run.sh benchmarks/training_rate.py --config micro --batch_size 4
    ./run.sh benchmarks/training_rate.py --config micro --batch_size 4 --activation_checkpointing

Steps of the real trainer on full rows (every position real, prompts of 16 tokens), each block length of the preset's
mixture once a round. The peer is the machine itself: the rate of a large matrix product in the same number format,
measured before and after. The arithmetic is counted while a step runs (products and attention only, forward and
backward), not estimated. A profile says how long the products took by themselves and what else took time. Memory is
the largest resident size of this process, beside the estimate of the pre-flight.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from common import with_training_flags
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from sunfish.commands.flags import config_of
from sunfish.config import Config
from sunfish.devices import matmul_rate
from sunfish.sizes import training_memory
from sunfish.train import Trainer
from sunfish.types import Batch

PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "aten::baddbmm_")
NEVER = 10**9


def added_product(into: Sequence[int], left: Sequence[int], right: Sequence[int], **_: Any) -> int:
    """Operations of ``baddbmm_``, from the shapes: PyTorch counts the product that makes a new tensor only."""
    batch, rows, inner = left
    return 2 * batch * rows * inner * right[2]


UNCOUNTED = {torch.ops.aten.baddbmm_: added_product}


class FullRows:
    """Batches of rows without padding; a stand-in for the corpus that has the same interface."""

    def __init__(self, config: Config) -> None:
        generator = torch.Generator().manual_seed(0)
        m, rows = config.model, config.training.batch_size
        size = min(m.vocab_size, 1000)
        x0 = torch.randint(1, size, (rows, m.context_length), generator=generator)
        prompt = torch.randint(1, size, (rows, min(16, m.prompt_length)), generator=generator)
        lengths = torch.full((rows,), m.context_length)
        self.one = Batch(x0, lengths, prompt, torch.ones_like(prompt, dtype=torch.bool))

    def batch(self, step: int) -> Batch:
        """The same rows for each step."""
        return self.one

    def row_numbers(self, step: int) -> list[int]:
        """None of a corpus."""
        return []


def timed(trainer: Trainer) -> dict[str, float]:
    """Seconds that each optimizer takes, filled in while steps run."""
    seconds: dict[str, float] = {}
    for optimizer in trainer.optimizers:
        name, step = type(optimizer).__name__, optimizer.step

        def measured(step: Any = step, name: str = name) -> None:
            begin = time.perf_counter()
            step()
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin

        optimizer.step = measured  # type: ignore[method-assign]
    return seconds


def main() -> None:
    """Parse, step, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2, help="rounds of steps that are timed")
    arguments, chosen = with_training_flags(parser)
    config = config_of(chosen)
    with tempfile.TemporaryDirectory() as folder:
        # The corpus is not read, but a trainer has one: the smallest that the vocabulary allows.
        small = dict(
            stories=2000, eval_every=NEVER, checkpoints=folder, trackers=(), max_steps=NEVER, max_minutes=0.0
        )
        begin = time.perf_counter()
        trainer = Trainer(config.with_fields(**small))
        built = time.perf_counter() - begin
        trainer.batches = FullRows(config)  # type: ignore[assignment]
        before = matmul_rate(trainer.dtype, 2048, 1.0)
        mixture = len(config.training.block_lengths)
        begin = time.perf_counter()
        trainer.train_step()
        first = time.perf_counter() - begin
        for _ in range(2 * mixture - 1):
            trainer.train_step()
        # Here, for the counting and the profile below take memory of their own.
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
            for _ in range(mixture):
                trainer.train_step()
        everything = counter.get_total_flops() / mixture
        seconds = timed(trainer)
        begin = time.perf_counter()
        for _ in range(arguments.rounds * mixture):
            trainer.train_step()
        each = (time.perf_counter() - begin) / (arguments.rounds * mixture)
        optimizing = dict(seconds)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            for _ in range(mixture):
                trainer.train_step()
        after = matmul_rate(trainer.dtype, 2048, 1.0)
    rate, tokens = (before + after) / 2, int(trainer.batches.one.lengths.sum())  # type: ignore[attr-defined]
    in_products = {e.key: e.self_cpu_time_total / 1e6 / mixture for e in profiled.key_averages()}
    products = sum(in_products.get(name, 0.0) for name in PRODUCTS)
    with_optimizer = everything / each / 1e9
    print(
        f"{config.training.name}, batch {config.training.batch_size} x {config.model.context_length}, "
        f"{trainer.threads} threads, {str(trainer.dtype).removeprefix('torch.')}: the machine's products run at "
        f"{before:.0f} GFLOP/s before, {after:.0f} after"
    )
    print(f"the trainer was ready after {built:.1f} s (corpus included), its first step took {first:.1f} s")
    print(f"a step: {each * 1e3:.0f} ms, {tokens / each:,.0f} tokens/s, {everything / 1e9:,.0f} GFLOP")
    print(
        f"rate {with_optimizer:.0f} GFLOP/s, ratio to the machine {with_optimizer / rate:.2f}; its products by "
        f"themselves {products * 1e3:.0f} ms, {everything / products / 1e9:.0f} GFLOP/s, "
        f"ratio {everything / products / 1e9 / rate:.2f}"
    )
    count = arguments.rounds * mixture
    print("optimizers: " + ", ".join(f"{n} {1e3 * s / count:.0f} ms" for n, s in optimizing.items()))
    print("the rest, self time in ms a step:")
    others = sorted(((s, n) for n, s in in_products.items() if n not in PRODUCTS), reverse=True)
    print("  " + ", ".join(f"{name.removeprefix('aten::')} {1e3 * s:.0f}" for s, name in others[:14]))
    estimate = training_memory(config, dtype=trainer.dtype)
    print(
        f"memory: {memory / 2**20:,.0f} MiB at most; the pre-flight's estimate {estimate / 2**20:,.0f} MiB, "
        f"ratio {estimate / memory:.2f}"
    )


if __name__ == "__main__":
    main()
