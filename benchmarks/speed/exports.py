"""Owns the claim: an export writes faster than the pipeline, the same texts, and int8 costs it next to nothing.

    ./run.sh benchmarks/speed/exports.py checkpoints/tiny/last.ckpt --threads 1

The checkpoint is exported in float32 and in int8. PyTorch and both exports then write the same held-out
prompts in turn, one text at a time. Exact log-likelihoods of the held-out texts, given their prompts, say what
rounding costs (nats/token).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    STORY_SEED,
    add_checkpoint_flags,
    checkpoint_path,
    need_stories,
    num_texts,
    open_pipeline,
    run_name,
    weights_dtype,
)
from benchmarks.timing import Timed, interleave, ratio
from sunfish.config import GenerationConfig
from sunfish.data.stories import story
from sunfish.data.stories.generate import Story
from sunfish.export.standalone import Model
from sunfish.export.write import export_onnx
from sunfish.sampling.pipeline import Pipeline

EXPORTS = {"float32": False, "int8": True}
MEGABYTE = 1e6
Written = list[int]  # the ids of a text, its end mark included


def pipeline_writes(
    pipeline: Pipeline, stories: list[Story], scale: float, seed: int, number: int
) -> Written:
    """The ids of the text for a prompt, from PyTorch."""
    config = GenerationConfig(guidance_scale=scale)
    text = pipeline.generate([stories[number].prompt], config, seed=seed + number)[0]
    return [*text.ids, *[pipeline.tokenizer.end] * text.finished]


def export_writes(model: Model, stories: list[Story], scale: float, seed: int, number: int) -> Written:
    """The same from an export."""
    parts = model.stream(stories[number].prompt, seed + number, 0, 0, guidance_scale=scale)
    return [i for part in parts for i in part]


def rows(pipeline: Pipeline, stories: list[Story]) -> list[list[int]]:
    """The ids of each story with its marks, cut to the context."""
    end, limit = pipeline.tokenizer.end, pipeline.model.config.context_length
    return [[end, *pipeline.tokenizer.encode(story.text), end][:limit] for story in stories]


def pipeline_nats(pipeline: Pipeline, stories: list[Story]) -> float:
    """Nats/token of the stories given their prompts, from PyTorch."""
    total = tokens = 0.0
    for ids, example in zip(rows(pipeline, stories), stories, strict=True):
        row = torch.tensor([ids], device=pipeline.device)
        total -= float(pipeline.log_likelihood(row, pipeline.encode([example.prompt])))
        tokens += len(ids) - 1
    return total / tokens


def export_nats(model: Model, pipeline: Pipeline, stories: list[Story]) -> float:
    """The same from an export."""
    total = tokens = 0.0
    settings = {**model.settings["sampling"], "guidance_scale": 1.0}
    for ids, example in zip(rows(pipeline, stories), stories, strict=True):
        condition = model.encode(example.prompt, settings)
        logits, _ = model.verify(ids[:-1], model.empty_cache(condition), 0, condition)
        total -= float(logits[np.arange(len(ids) - 1), ids[1:]].sum(dtype=np.float64))
        tokens += len(ids) - 1
    return total / tokens


def folder_size(folder: Path) -> float:
    """Megabytes of the files of a folder."""
    return sum(file.stat().st_size for file in folder.iterdir()) / MEGABYTE


def measure(run: Run) -> None:
    """Export, write in turn, compare."""
    pipeline, path = open_pipeline(run), checkpoint_path(run)
    need_stories(path)
    scale: float = run.arguments.guidance
    run.header(weights_dtype(pipeline), model=run_name(path), guidance=scale)
    count = num_texts(run)
    stories = [story(STORY_SEED, "test", index) for index in range(count)]
    with tempfile.TemporaryDirectory() as temporary:
        folders = {
            name: export_onnx(path, Path(temporary) / name, int8=int8) for name, int8 in EXPORTS.items()
        }
        models = {name: Model(folder, run.threads) for name, folder in folders.items()}
        arms = {"pytorch": partial(pipeline_writes, pipeline, stories, scale, run.seed)}
        for name, model in models.items():
            arms[name] = partial(export_writes, model, stories, scale, run.seed)
        timed = interleave(arms, count, clock=run.clock)
        nats = {"pytorch": pipeline_nats(pipeline, stories)}
        nats |= {name: export_nats(model, pipeline, stories) for name, model in models.items()}
        sizes = {name: folder_size(folder) for name, folder in folders.items()}
    report(run, timed, nats, sizes)


def report(
    run: Run, timed: dict[str, Timed[Written]], nats: dict[str, float], sizes: dict[str, float]
) -> None:
    """One result for each arm."""
    speeds = {name: sum(map(len, arm.values)) / sum(arm.seconds) for name, arm in timed.items()}
    expected = timed["pytorch"].values
    for name, arm in timed.items():
        same = sum(text == wanted for text, wanted in zip(arm.values, expected, strict=True))
        figures = {
            "tokens_per_second": speeds[name],
            "pytorch_tokens_per_second": speeds["pytorch"],
            "ratio_to_pytorch": ratio(speeds[name], speeds["pytorch"]),
            "nats_per_token": nats[name],
            "nats_above_pytorch": nats[name] - nats["pytorch"],
            "same_texts": 100 * same / len(expected),
            "megabytes": sizes.get(name),
        }
        run.add({"form": name}, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What is exported, and how it writes."""
    add_checkpoint_flags(parser, texts=40)
    parser.add_argument("--guidance", type=float, default=3.0, help="guidance scale (%(default)s)")


benchmark = Benchmark(
    "speed/exports",
    __doc__,
    measure,
    claim="an export writes faster than the pipeline, the same texts, and int8 costs it next to nothing",
    peer="the pipeline in PyTorch",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
