"""Owns the claim: nothing became slower. This checkout against another, in processes that take turns.

    ./run.sh benchmarks/speed/regression.py ../base --configs nano tiny micro --precisions float32 bfloat16
    ./run.sh benchmarks/speed/regression.py ../base --only sampling --samplers verified/8 --compile

Runs training_rate and sampling_speed of both trees, A B A B ..., and compares medians of tokens/s. The other
checkout may be older: its benchmarks print JSON where they can; otherwise their tables are parsed.
For sampling each tree trains a checkpoint of its own with the same seed and steps, unless ``--checkpoint``
and ``--base_checkpoint`` name two. Exits with 1 where a ratio is below 1 - ``--tolerance``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.results import ROOT
from benchmarks.speed.checkout import Checkout, Speed
from benchmarks.timing import interleave, ratio

NEW, BASE = "this tree", "base"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def compare(run: Run, case: dict[str, object], speeds: dict[str, list[Speed]]) -> None:
    """Add one result, and let the run fail where this tree is slower than the tolerance allows."""
    figures: dict[str, float | None] = {}
    for name, found in speeds.items():
        prefix = "" if name == NEW else "base_"
        figures[f"{prefix}tokens_per_second"] = median(speed.tokens_per_second for speed in found)
        memory = [speed.peak_mib for speed in found if speed.peak_mib is not None]
        figures[f"{prefix}peak_mib"] = median(memory) if memory else None
    quotient = ratio(figures["tokens_per_second"] or 0.0, figures["base_tokens_per_second"] or 0.0)
    run.add(case, {**figures, "ratio": quotient})
    if quotient is not None and quotient < 1 - run.arguments.tolerance:
        run.exit_code = 1


def rounds_of(run: Run) -> int:
    """How often each tree is measured."""
    return 1 if run.smoke else int(run.arguments.rounds)


def compare_training(run: Run, trees: dict[str, Checkout]) -> None:
    """training_rate of every configuration and number format."""
    smoke = ["--smoke"] if run.smoke else []
    mean = not all(tree.frames for tree in trees.values())  # all that an older benchmark reports
    for config in run.arguments.configs:
        for precision in run.arguments.precisions:
            words = ["--config", config, "--precision", precision, "--threads", str(run.threads), *smoke]
            timed = interleave(
                {name: partial(_training_rate, tree, words, mean) for name, tree in trees.items()},
                rounds_of(run),
                warmup=0,
            )
            speeds = {name: arm.values for name, arm in timed.items()}
            compare(run, {"what": "training", "model": config, "precision": precision}, speeds)


def checkpoints_of(run: Run, trees: dict[str, Checkout]) -> dict[str, Path]:
    """A checkpoint for each tree: those of the command line, or new ones."""
    arguments = run.arguments
    if arguments.checkpoint and arguments.base_checkpoint:
        paths = (arguments.checkpoint, arguments.base_checkpoint)
        return dict(zip(trees, (path.resolve() for path in paths), strict=True))
    words = ["--config", arguments.configs[0], "--max_steps", str(arguments.train_steps)]
    words += ["--threads", str(run.threads), "--seed", str(run.seed), "--precision", "float32"]
    return {name: tree.train(words) for name, tree in trees.items()}


def compare_sampling(run: Run, trees: dict[str, Checkout]) -> None:
    """sampling_speed of every sampler."""
    arguments, paths = run.arguments, checkpoints_of(run, trees)
    words = ["--threads", str(run.threads), "--texts", str(arguments.texts)]
    words += ["--samplers", *arguments.samplers, *["--compile"] * arguments.compile]
    timed = interleave(
        {name: partial(_sampling_speed, tree, [str(paths[name]), *words]) for name, tree in trees.items()},
        rounds_of(run),
        warmup=0,
    )
    for sampler in timed[NEW].values[0]:
        by_tree = {name: [speeds[sampler] for speeds in arm.values] for name, arm in timed.items()}
        case = {"what": "sampling", "model": arguments.configs[0], "sampler": sampler}
        compare(run, {**case, "compile": arguments.compile}, by_tree)


def _training_rate(tree: Checkout, words: list[str], mean: bool, _: int) -> Speed:
    return tree.training_rate(words, mean)


def _sampling_speed(tree: Checkout, words: list[str], _: int) -> dict[str, Speed]:
    return tree.sampling_speed(words)


def measure(run: Run) -> None:
    """Training, then sampling."""
    arguments = run.arguments
    run.header(torch.float32, "the type of each row is in the row; sampling is in float32")
    with tempfile.TemporaryDirectory() as folder:
        roots = {NEW: ROOT, BASE: arguments.base.resolve()}
        trees = {name: Checkout(root, Path(folder) / name.replace(" ", "-")) for name, root in roots.items()}
        if arguments.only != "sampling":
            compare_training(run, trees)
        if arguments.only != "training":
            compare_sampling(run, trees)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The other checkout, and what is measured."""
    parser.add_argument("base", type=Path, help="the root of the other checkout")
    parser.add_argument("--only", choices=("training", "sampling"), help="leave out the other (both)")
    parser.add_argument("--rounds", type=int, default=3, help="of each tree (%(default)s)")
    parser.add_argument("--tolerance", type=float, default=0.03, help="share that may be lost (%(default)s)")
    parser.add_argument(
        "--configs", nargs="+", default=["tiny"], help="presets; sampling takes the first (tiny)"
    )
    parser.add_argument(
        "--precisions", nargs="+", default=list(DTYPES), choices=list(DTYPES), help="of training"
    )
    parser.add_argument("--samplers", nargs="+", default=["verified/8", "verified:1/5"], help="(%(default)s)")
    parser.add_argument("--texts", type=int, default=20, help="of each sampler (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="compile the passes of sampling")
    parser.add_argument("--train_steps", type=int, default=200, help="of the new checkpoints (%(default)s)")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint of this tree")
    parser.add_argument("--base_checkpoint", type=Path, help="a checkpoint of the other tree")


benchmark = Benchmark(
    "speed/regression",
    __doc__,
    measure,
    claim="nothing became slower",
    peer="another checkout of SunFish, in turn",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
