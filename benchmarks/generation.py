"""Owns how benchmarks generate texts: flags, checkpoints, prompts."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.frame import Run
from benchmarks.plots import plot_lines
from benchmarks.smoke import smoke_checkpoint
from sunfish.checkpoint.folder import read_metadata
from sunfish.config import GenerationConfig
from sunfish.data.stories import story
from sunfish.hardware.device import PRECISIONS
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline
from sunfish.utils import UsageError

GENERATION_FLAGS = ("sampler", "num_steps", "block_length", "temperature", "plausibility")
STORY_SEED = 1  # of the prompts; training stories have the seed of their run
SMOKE_TEXTS, SMOKE_SCALES = 2, 2


def add_checkpoint_flags(parser: argparse.ArgumentParser, texts: int) -> None:
    """The checkpoint, its number format, and how many texts it generates."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint folder")
    parser.add_argument(
        "--precision", default="float32", choices=(*PRECISIONS, "int8"), help="of the weights (%(default)s)"
    )
    parser.add_argument("--texts", type=int, default=texts, help="held-out prompts (%(default)s)")


def add_generation_flags(parser: argparse.ArgumentParser, scales: Sequence[float]) -> None:
    """How texts are drawn, the guidance scales, and how many texts are drawn together."""
    defaults = GenerationConfig()
    for name in GENERATION_FLAGS:
        default = getattr(defaults, name)
        parser.add_argument(f"--{name}", type=type(default), default=default, help="(%(default)s)")
    parser.add_argument(
        "--scales", type=float, nargs="+", default=list(scales), help="guidance (%(default)s)"
    )
    parser.add_argument("--best_of", type=int, default=1, help="drafts a text (%(default)s)")
    parser.add_argument("--batch", type=int, default=20, help="texts at a time (%(default)s)")
    parser.add_argument("--show", type=int, default=0, help="texts to print for each scale (%(default)s)")


def checkpoint_path(run: Run) -> Path:
    """The checkpoint of the command line, or the smoke one."""
    path: Path | None = run.arguments.checkpoint
    if path is not None:
        return path
    if not run.smoke:
        raise UsageError(
            "checkpoint is missing; name a checkpoint folder, such as checkpoints/tiny/last.ckpt"
        )
    return smoke_checkpoint()


def open_pipeline(run: Run, compile: bool = False) -> Pipeline:
    """The checkpoint of the command line on the device of the run."""
    return Pipeline.from_checkpoint(checkpoint_path(run), run.device, run.arguments.precision, compile)


def run_name(checkpoint: Path) -> str:
    """The name of the run that wrote a checkpoint: what ``model`` is called in results."""
    return str(read_metadata(checkpoint)["config"]["training"]["name"])


def need_stories(checkpoint: Path) -> None:
    """Refuse a checkpoint whose texts the oracle of the built-in stories cannot judge.

    Raises:
        UsageError: It was trained on something else.
    """
    data = read_metadata(checkpoint)["config"]["corpus"]["data"]
    if data != "stories":
        raise UsageError(f"{checkpoint} was trained on {data}, but the judge knows only the built-in stories")


def weights_dtype(pipeline: Pipeline) -> torch.dtype:
    """In which type the network computes."""
    return pipeline.model.token_embedding.dtype


def num_texts(run: Run) -> int:
    """How many texts the command line asks for."""
    return min(SMOKE_TEXTS, run.arguments.texts) if run.smoke else int(run.arguments.texts)


def story_prompts(count: int, split: str = "test") -> list[str]:
    """Held-out prompts of the built-in stories."""
    return [story(STORY_SEED, split, index).prompt for index in range(count)]


def generation_config(arguments: argparse.Namespace, **changes: Any) -> GenerationConfig:
    """What :func:`add_generation_flags` parsed, with ``changes``."""
    given = {name: getattr(arguments, name) for name in GENERATION_FLAGS}
    return GenerationConfig(**{**given, **changes})


def parse_setting(text: str) -> GenerationConfig:
    """A setting such as ``sampler=leftmost,block_length=4,num_steps=4``; "" for the defaults.

    Raises:
        UsageError: A name or a value is wrong.
    """
    defaults = GenerationConfig()
    kinds = {field.name: type(getattr(defaults, field.name)) for field in dataclasses.fields(defaults)}
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name not in kinds or kinds[name] is tuple:
            known = ", ".join(name for name, kind in kinds.items() if kind is not tuple)
            raise UsageError(f"setting is {part!r}; write NAME=VALUE with one of: {known}")
        try:
            given[name] = kinds[name](value)
        except ValueError as why:
            raise UsageError(f"setting is {part!r}, but {name} is a {kinds[name].__name__}") from why
    return GenerationConfig(**given)


def at_each_scale(
    run: Run, pipeline: Pipeline, prompts: Sequence[str], note: Callable[[Generated], str]
) -> Iterator[tuple[float, list[Generated], float]]:
    """One text for each prompt at each guidance scale, as :func:`add_generation_flags` says.

    Args:
        run: The run.
        pipeline: What generates.
        prompts: One for each text.
        note: What to say of a text that ``--show`` prints, after all are judged.

    Yields:
        The scale, the texts, and the seconds that they took.
    """
    arguments, shown = run.arguments, list[tuple[float, Generated]]()
    for scale in arguments.scales[:SMOKE_SCALES] if run.smoke else arguments.scales:
        config, begin = generation_config(arguments, guidance_scale=scale), run.clock()
        texts = pipeline.generate(
            prompts, config, seed=run.seed, batch_size=arguments.batch, best_of=arguments.best_of
        )
        yield scale, texts, run.clock() - begin
        shown += [(scale, text) for text in texts[: arguments.show]]
    for scale, text in shown:
        run.say(f"\n[guidance {scale:g}] {text.prompt}\n  {text.text}\n  {note(text)}")


def plot_scales(run: Run, labels: Mapping[str, str], title: str) -> None:
    """Draw percentages of the results over the guidance scale, where ``--plot`` asks for it.

    Args:
        run: The run, whose results have the case ``guidance``.
        labels: From a figure to its label.
        title: Above the figure.
    """
    if run.plot is not None:
        scales = [result.case["guidance"] for result in run.results]
        lines = {label: (scales, [r.figures[key] for r in run.results]) for key, label in labels.items()}
        plot_lines(run.plot, lines, x="guidance scale", y="%", title=title, percent=True)
