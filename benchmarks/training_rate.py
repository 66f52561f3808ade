"""How much of the machine a training step uses, and what memory it takes.

    ./run.sh benchmarks/training_rate.py --config micro --batch_size 4
    ./run.sh benchmarks/training_rate.py --config micro --batch_size 4 --activation_checkpointing
    ./run.sh benchmarks/training_rate.py --config base --device cuda --compile

Steps of the real trainer on full rows (every position real, prompts of 16 tokens), each block length of the preset's
mixture once a round. The peer is the machine itself: the rate of a large matrix product in the same number format,
measured before and after. The arithmetic is counted while a step runs (products and attention only, forward and
backward, every pair of positions whether visible or not), not estimated. A profile says how long the products took by
themselves and what else took time. Memory is the largest resident size of this process, on a GPU the largest that was
allocated there, beside the estimate of the pre-flight.
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
from sunfish.hardware.device import clock, matmul_rate
from sunfish.model.cost import training_memory
from sunfish.training.trainer import Trainer
from sunfish.types import Batch

PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::addmm_", "aten::baddbmm", "aten::baddbmm_")
NEVER = 10**9
SIZE = {"cpu": 2048, "cuda": 8192}  # of the product that measures the machine


def added_product(into: Sequence[int], left: Sequence[int], right: Sequence[int], **_: Any) -> int:
    """Operations of ``baddbmm_``, from the shapes: PyTorch counts only the product that makes a new tensor."""
    batch, rows, inner = left
    return 2 * batch * rows * inner * right[2]


def attention_product(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """Operations of a CPU's fused attention, forward: ``q k^T`` and the product of the probabilities with ``v``."""
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[2] * (width + value[3])


def attention_gradient(
    gradient: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    """Of its gradient: two products for each of the forward's; those that it computes once more are not counted."""
    return 2 * attention_product(query, key, value)


UNCOUNTED = {
    torch.ops.aten.baddbmm_: added_product,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_product,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_gradient,
}


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
            begin = clock(trainer.device)
            step()
            seconds[name] = seconds.get(name, 0.0) + clock(trainer.device) - begin

        optimizer.step = measured  # type: ignore[method-assign]
    return seconds


def steps(trainer: Trainer, count: int) -> float:
    """Seconds for each of ``count`` steps."""
    begin = clock(trainer.device)
    for _ in range(count):
        trainer.train_step()
    return (clock(trainer.device) - begin) / count


def on_full_rows(config: Config) -> Trainer:
    """A trainer of this configuration whose steps are all alike."""
    trainer = Trainer(config)
    trainer.batches = FullRows(config)  # type: ignore[assignment]
    return trainer


def arithmetic(config: Config) -> tuple[float, float]:
    """Operations of a step, the mean over the mixture of block lengths: all, and those of attention's fused kernels.

    Of a trainer that is not compiled, for a compiled one hides its products.
    """
    trainer, mixture = on_full_rows(config.with_fields(compile=False)), len(config.training.block_lengths)
    trainer.train_step()
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        steps(trainer, mixture)
    counts = counter.get_flop_counts()["Global"]
    attention = sum(n for operation, n in counts.items() if "attention" in str(operation))
    return counter.get_total_flops() / mixture, attention / mixture


def largest(device: torch.device) -> float:
    """Bytes of memory that were in use at most."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def kernels(profiled: profile, steps: int) -> dict[str, float]:
    """Seconds a step of each of a GPU's kernels."""
    on_gpu = (e for e in profiled.key_averages() if e.device_type == torch.autograd.DeviceType.CUDA)
    return {e.key: e.self_device_time_total / 1e6 / steps for e in on_gpu}


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
        config = config.with_fields(**small)
        begin = time.perf_counter()
        trainer = on_full_rows(config)
        device, mixture = trainer.device, len(config.training.block_lengths)
        built = clock(device) - begin
        before = matmul_rate(trainer.dtype, SIZE[device.type], 1.0, device)
        first = steps(trainer, 1)
        steps(trainer, 2 * mixture - 1)
        # Here, for the counting and the profile below take memory of their own.
        memory = largest(device)
        each = steps(trainer, arguments.rounds * mixture)
        seconds = timed(trainer)
        steps(trainer, mixture)
        optimizing = dict(seconds)
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        with profile(activities=kinds) as profiled:
            steps(trainer, mixture)
        after = matmul_rate(trainer.dtype, SIZE[device.type], 1.0, device)
        everything, attention = arithmetic(config)
    rate, tokens = (before + after) / 2, int(trainer.batches.one.lengths.sum())  # type: ignore[attr-defined]
    own = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    in_products = {e.key: getattr(e, own) / 1e6 / mixture for e in profiled.key_averages()}
    products = sum(in_products.get(name, 0.0) for name in PRODUCTS)
    print(
        f"{config.training.name}, batch {config.training.batch_size} x {config.model.context_length}, on {device}, "
        f"{trainer.threads} threads, {str(trainer.dtype).removeprefix('torch.')}: the machine's products run at "
        f"{before:,.0f} GFLOP/s before, {after:,.0f} after"
    )
    print(f"the trainer was ready after {built:.1f} s (corpus included), its first step took {first:.1f} s")
    print(f"a step: {each * 1e3:.0f} ms, {tokens / each:,.0f} tokens/s, {everything / 1e9:,.0f} GFLOP")
    print(
        f"rate {everything / each / 1e9:,.0f} GFLOP/s, ratio to the machine {everything / each / 1e9 / rate:.2f} "
        f"(without attention's fused kernels {(everything - attention) / each / 1e9 / rate:.2f}); its products by "
        f"themselves {products * 1e3:.0f} ms, {(everything - attention) / products / 1e9:,.0f} GFLOP/s, "
        f"ratio {(everything - attention) / products / 1e9 / rate:.2f}"
    )
    print("optimizers: " + ", ".join(f"{n} {1e3 * s / mixture:.0f} ms" for n, s in optimizing.items()))
    if device.type == "cuda":  # its kernels, products among them
        rest, shown = kernels(profiled, mixture), 40
        print(f"the GPU is busy for {1e3 * sum(rest.values()):.0f} ms of a step; in ms:")
    else:
        rest, shown = {n: s for n, s in in_products.items() if n not in PRODUCTS}, 14
        print("the rest, self time in ms a step:")
    longest = sorted(rest.items(), key=lambda item: -item[1])[:shown]
    print("  " + ", ".join(f"{name.removeprefix('aten::')[:60]} {1e3 * s:.1f}" for name, s in longest))
    estimate = training_memory(config, dtype=trainer.dtype)
    print(
        f"memory: {memory / 2**20:,.0f} MiB at most; the pre-flight's estimate {estimate / 2**20:,.0f} MiB, "
        f"ratio {estimate / memory:.2f}"
    )


if __name__ == "__main__":
    main()
