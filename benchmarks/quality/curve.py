"""Owns the course of runs: losses, what prompts are worth, tokens/s, from their metrics.jsonl.

    ./run.sh benchmarks/quality/curve.py checkpoints/tiny/metrics.jsonl checkpoints/micro/metrics.jsonl

For each run every validation with the minutes and tokens that it took, then the median speed and its ratio to
the first run's, the peer.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.plots import pyplot, save
from benchmarks.smoke import smoke_checkpoint
from benchmarks.timing import ratio
from sunfish.utils import UsageError

LABELS = {"bound": "bound", "block_bound": "bound at the shortest blocks", "next_token": "next token"}
PROMPTS = "prompt_gain"
Line = dict[str, float]


def read_metrics(path: Path) -> tuple[list[Line], list[Line]]:
    """The training lines and the validation lines of one run; each validation with its minutes and tokens.

    Raises:
        ValueError: There are none.
    """
    training: list[Line] = []
    validation: list[Line] = []
    last: Line = {"minutes": 0.0, "tokens": 0.0}
    with path.open(encoding="utf-8") as file:
        for line in map(json.loads, file):
            if "tokens_per_second" in line:
                last = line
                training.append(line)
            elif "validation/bound" in line:
                figures = {key.removeprefix("validation/"): value for key, value in line.items()}
                validation.append(figures | {"minutes": last["minutes"], "tokens": last["tokens"]})
    validation = list({line["step"]: line for line in validation}.values())  # a resumed run repeats some
    if not training or not validation:
        raise ValueError(f"{path} has no training or no validation lines yet; train longer")
    return training, validation


def measure(run: Run) -> None:
    """Read, print, draw."""
    paths = run.arguments.metrics or ([smoke_checkpoint().parent / "metrics.jsonl"] if run.smoke else [])
    if not paths:
        raise UsageError("metrics is missing; name the metrics.jsonl of a run")
    run.header(torch.float32, "read from the runs; the machine above is not theirs")
    runs: dict[str, list[Line]] = {}
    first = 0.0
    for path in paths:
        training, validation = read_metrics(path)
        name = path.parent.name if path.parent.name not in runs else str(path.parent)
        runs[name] = validation
        for line in validation:
            figures = {key: line[key] for key in ("minutes", "tokens", *LABELS, PROMPTS)}
            run.add({"model": name, "step": int(line["step"])}, {**figures})
        speed = median(line["tokens_per_second"] for line in training)
        first = first or speed
        run.add({"model": name}, {"tokens_per_second": speed, "ratio": ratio(speed, first)})
    if run.plot:
        draw(runs, run.plot)


def draw(runs: dict[str, list[Line]], path: Path) -> None:
    """Validation losses over minutes, and what the right prompt is worth below."""
    plots = pyplot()
    colors = plots.rcParams["axes.prop_cycle"].by_key()["color"]
    figure, (losses, prompts) = plots.subplots(2, 1, figsize=(7, 6.5), sharex=True, height_ratios=[2, 1])
    for number, (name, lines) in enumerate(runs.items()):
        color, minutes = colors[number % len(colors)], [line["minutes"] for line in lines]
        for (key, label), style in zip(LABELS.items(), ("-", "--", ":"), strict=True):
            values = [line[key] for line in lines]
            losses.plot(minutes, values, style, color=color, marker=".", label=f"{name}: {label}")
        prompts.plot(minutes, [line[PROMPTS] for line in lines], color=color, marker=".", label=name)
    losses.set(ylabel="validation, nats/token")
    prompts.set(xlabel="minutes of training", ylabel="worth of the right prompt")
    for axes in (losses, prompts):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save(figure, path)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The runs."""
    parser.add_argument("metrics", type=Path, nargs="*", help="metrics.jsonl of each run")


benchmark = Benchmark(
    "quality/curve",
    __doc__,
    measure,
    claim="how a run went",
    peer="the first run",
    add_flags=add_flags,
    plots=True,
    records=False,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
