"""The course of a run: losses, what prompts are worth, tokens a second, from its metrics.jsonl.

    ./run.sh benchmarks/curve.py checkpoints/tiny/metrics.jsonl checkpoints/micro/metrics.jsonl --plot curve.png

For each run it prints every validation with the minutes and tokens that it took, and the median speed; with two runs or
more also the ratio of their speeds to the first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

from pictures import picture, pyplot, save

KEYS = {"bound": "bound", "block_bound": "bound at the shortest blocks", "next_token": "next token"}


def read(path: Path) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """The training lines and the validation lines of one run; each validation with its minutes and tokens."""
    training: list[dict[str, float]] = []
    validation: list[dict[str, float]] = []
    last: dict[str, float] = {"minutes": 0.0, "tokens": 0.0}
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
        raise SystemExit(f"{path} holds no training or no validation lines yet; train longer")
    return training, validation


def draw(runs: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Validation losses over minutes, and what the right prompt is worth below."""
    figure, (losses, prompts) = pyplot().subplots(2, 1, figsize=(7, 6.5), sharex=True, height_ratios=[2, 1])
    for (name, lines), colour in zip(
        runs.items(), pyplot().rcParams["axes.prop_cycle"].by_key()["color"], strict=False
    ):
        minutes = [line["minutes"] for line in lines]
        for (key, label), style in zip(KEYS.items(), ("-", "--", ":"), strict=True):
            values = [line[key] for line in lines]
            losses.plot(minutes, values, style, color=colour, marker=".", label=f"{name}: {label}")
        prompts.plot(minutes, [line["prompt_gain"] for line in lines], color=colour, marker=".", label=name)
    losses.set(ylabel="validation, nats per token")
    prompts.set(xlabel="minutes of training", ylabel="worth of the right prompt")
    for axes in (losses, prompts):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save(figure, path)


def main() -> None:
    """Parse, print, plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("metrics", type=Path, nargs="+", help="metrics.jsonl of each run")
    parser.add_argument("--plot", type=picture)
    arguments = parser.parse_args()
    runs, first = {}, 0.0
    for path in arguments.metrics:
        training, validation = read(path)
        speed = median(line["tokens_per_second"] for line in training)
        first = first or speed
        name = path.parent.name if path.parent.name not in runs else str(path.parent)
        print(f"{name}: median {speed:,.0f} tokens/s, {speed / first:.2f} of the first run")
        print("  minutes     step    tokens    bound  short blocks  next token   prompt")
        for line in validation:
            print(
                f"{line['minutes']:9.1f} {line['step']:8.0f} {line['tokens']:9,.0f} {line['bound']:8.3f} "
                f"{line['block_bound']:13.3f} {line['next_token']:11.3f} {line['prompt_gain']:8.3f}"
            )
        runs[name] = validation
    if arguments.plot:
        draw(runs, arguments.plot)


if __name__ == "__main__":
    main()
