"""Owns the comparison of settings of sampling, at equal texts on one checkpoint.

    ./run.sh benchmarks/quality/settings.py checkpoints/tiny/last.ckpt --threads 1 --texts 100 \\
        --settings block_length=8 block_length=16 sampler=leftmost,block_length=4,num_steps=4

A setting is NAME=VALUE with commas between them; the names are those of GenerationConfig: sampler,
block_length, num_steps, guidance_scale, temperature, top_p, plausibility, lenience. The first one is the
peer. All generate the same held-out prompts with the same seeds, one text at a time and in turn, so that a
slow minute of the machine falls on all. It reports the percentages of grammatical sentences and of satisfied
constraints, and the median seconds of a text: of the processor on a CPU (all threads), of the wall clock on a
GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    checkpoint_path,
    need_stories,
    num_texts,
    open_pipeline,
    parse_setting,
    run_name,
    story_prompts,
    weights_dtype,
)
from benchmarks.metrics import oracle_figures
from benchmarks.timing import Timed, interleave, ratio
from sunfish.config import GenerationConfig
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline
from sunfish.utils import UsageError


def measure(run: Run) -> None:
    """Generate every prompt with every setting in turn, judge."""
    arguments, checkpoint = run.arguments, checkpoint_path(run)
    need_stories(checkpoint)
    settings = {text or "defaults": parse_setting(text) for text in arguments.settings}
    if len(settings) < 2:
        raise UsageError(f"settings is {arguments.settings}, but a comparison needs two that differ")
    pipeline = open_pipeline(run, arguments.compile)
    prompts = story_prompts(num_texts(run), arguments.split)
    run.header(
        weights_dtype(pipeline),
        model=run_name(checkpoint),
        texts=len(prompts),
        split=arguments.split,
        precision=arguments.precision,
        compile=arguments.compile,
    )

    def write(config: GenerationConfig, number: int) -> Generated:
        return pipeline.generate([prompts[number]], config, seed=run.seed + number)[0]

    on_cpu = run.device.type == "cpu"
    timed = interleave(
        {name: partial(write, config) for name, config in settings.items()},
        len(prompts),
        clock=time.process_time if on_cpu else run.clock,
    )
    report(run, pipeline, timed, "cpu_seconds_per_text" if on_cpu else "seconds_per_text")


def report(run: Run, pipeline: Pipeline, timed: dict[str, Timed[Generated]], seconds: str) -> None:
    """Judge each setting's texts, and compare them with the first one's."""
    judged = {name: oracle_figures(pipeline, arm.values) for name, arm in timed.items()}
    first = next(iter(timed))
    for name, arm in timed.items():
        figures: dict[str, float | None] = {**judged[name]}
        for key, value in judged[name].items():
            figures[f"{key}_difference"] = (value or 0.0) - (judged[first][key] or 0.0)
        figures |= {seconds: arm.median, "ratio": ratio(arm.median, timed[first].median)}
        run.add({"setting": name}, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The checkpoint and the settings."""
    add_checkpoint_flags(parser, texts=100)
    parser.add_argument(
        "--settings",
        nargs="+",
        metavar="NAME=VALUE,...",
        default=["block_length=8", "block_length=16"],
        help='the peer, then the others; "" for the defaults (%(default)s)',
    )
    parser.add_argument(
        "--split", default="test", choices=("test", "compositional"), help="of prompts (%(default)s)"
    )
    parser.add_argument("--compile", action="store_true", help="compile the passes")


benchmark = Benchmark(
    "quality/settings",
    __doc__,
    measure,
    claim="one setting of sampling is better than another at equal texts",
    peer="the first setting",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
