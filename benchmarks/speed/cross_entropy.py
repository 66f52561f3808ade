"""Owns the claim: the output layer's cross-entropy is faster than two forms of PyTorch's.

    ./run.sh benchmarks/speed/cross_entropy.py --threads 1

Forward and backward. ``all_logits`` makes all logits at once and leaves the rest to autograd; ``chunked`` is
``F.linear_cross_entropy`` in its own chunks, which has no weight for each token and gets none here. The
ratios are the peers' milliseconds to SunFish's: above 1, SunFish is faster.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.frame import Benchmark, Run
from benchmarks.timing import interleave, ratio
from sunfish.model.kernels.cross_entropy import linear_cross_entropy
from sunfish.rng import make_generator

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
SHAPES = ((3072, 2560, 120), (3072, 8192, 320), (3072, 8192, 768))  # tokens, vocabulary, width
SMOKE_SHAPES = ((32, 64, 16),)


def all_logits(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """All logits at once."""
    return F.cross_entropy((hidden @ table.to(hidden.dtype).T).float(), targets, reduction="sum")


def chunked(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """PyTorch's own chunks."""
    options = nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(hidden, table.to(hidden.dtype), targets, reduction="sum", options=options)


def sunfish(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """What training calls, each token with the weight 1."""
    weights = torch.ones(len(targets), device=targets.device)
    return linear_cross_entropy(hidden, table, targets, weights)[0]


def gradient(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor], _: int) -> None:
    """One forward and backward pass."""
    torch.autograd.grad(loss(*inputs), inputs[:2])


def measure(run: Run) -> None:
    """Time all three in the number formats of training."""
    run.header(torch.float32, "the type of each row is in the row")
    losses = (sunfish, all_logits, chunked)
    for tokens, vocabulary, width in SMOKE_SHAPES if run.smoke else SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            generator = make_generator("cross_entropy", run.seed)
            hidden = torch.randn(tokens, width, generator=generator).to(run.device, dtype).requires_grad_()
            table = (
                (0.05 * torch.randn(vocabulary, width, generator=generator)).to(run.device).requires_grad_()
            )
            targets = torch.randint(vocabulary, (tokens,), generator=generator).to(run.device)

            inputs = (hidden, table, targets)
            arms = {loss.__name__: partial(gradient, loss, inputs) for loss in losses}
            timed = interleave(arms, run.arguments.rounds, clock=run.clock)
            milliseconds = {name: 1e3 * arm.median for name, arm in timed.items()}
            figures: dict[str, float | None] = {f"{name}_ms": value for name, value in milliseconds.items()}
            for name in list(arms)[1:]:
                figures[f"ratio_to_{name}"] = ratio(milliseconds[name], milliseconds["sunfish"])
            case = {"tokens": tokens, "vocabulary": vocabulary, "width": width, "dtype": str(dtype)[6:]}
            run.add(case, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--rounds", type=int, default=10, help="timed passes of each form (%(default)s)")


benchmark = Benchmark(
    "speed/cross_entropy",
    __doc__,
    measure,
    claim="the fused cross-entropy takes less time than PyTorch's, forward and backward",
    peer="all logits at once with autograd, and torch.nn.functional.linear_cross_entropy",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
