"""Owns the claim: 16 texts at once are written at 3 times the rate of one at a time, whoever comes and leaves.

    ./run.sh benchmarks/speed/serving_engine.py checkpoints/small/last.ckpt --threads 2

The same held-out prompts are written in turn by the pipeline, one at a time, and by the engine of the server, which
has as many running at once as ``--running`` says, each a job of its own; when one ends the next one takes its
place. Texts are compared, too: a text should not depend on what runs beside it. On one thread of a CPU, processor
seconds count, so that nobody else's work shows.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    checkpoint_path,
    num_texts,
    open_pipeline,
    parse_setting,
    run_name,
    story_prompts,
    weights_dtype,
)
from benchmarks.timing import interleave, ratio
from sunfish.config import GenerationConfig
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.engine import Engine, EngineStats

SETTINGS = (
    "guidance_scale=1",
    "guidance_scale=3",
    "guidance_scale=1,sampler=leftmost,block_length=4,num_steps=4",
)
ALONE, TOGETHER = "alone", "together"


def write_one(pipeline: Pipeline, config: GenerationConfig, prompt: str, seed: int) -> str:
    """One text."""
    return pipeline.generate([prompt], config, seed=seed)[0].text


def write_alone(pipeline: Pipeline, config: GenerationConfig, prompts: list[str], number: int) -> list[str]:
    """All texts, one at a time; those of each round have seeds of their own."""
    first = number * len(prompts)
    return [write_one(pipeline, config, prompt, first + place) for place, prompt in enumerate(prompts)]


def write_together(engine: Engine, config: GenerationConfig, prompts: list[str], number: int) -> list[str]:
    """The same texts, each a job of the engine."""

    def work(prompt: str, seed: int) -> Callable[[Pipeline], Iterator[str]]:
        return lambda pipeline: iter([write_one(pipeline, config, prompt, seed)])

    first = number * len(prompts)
    jobs = [engine.submit(work(prompt, first + place)) for place, prompt in enumerate(prompts)]
    return [text for job in jobs for text in job]


def rows_per_pass(before: EngineStats, after: EngineStats) -> float:
    """How many rows shared a pass in between."""
    return (after.rows - before.rows) / max(1, after.passes - before.passes)


def measure(run: Run) -> None:
    """Write the same texts both ways, in turn, at every setting."""
    arguments = run.arguments
    pipeline, prompts = open_pipeline(run), story_prompts(num_texts(run))
    rounds = 1 if run.smoke else arguments.rounds
    clock = time.process_time if run.device.type == "cpu" and run.threads == 1 else run.clock
    run.header(
        weights_dtype(pipeline),
        model=run_name(checkpoint_path(run)),
        precision=arguments.precision,
        running=arguments.running,
    )
    engine = Engine(pipeline, max_running=arguments.running, max_waiting=len(prompts))
    engine.start()
    for setting in arguments.settings[:1] if run.smoke else arguments.settings:
        config, before = parse_setting(setting), engine.stats()
        arms = {
            ALONE: partial(write_alone, pipeline, config, prompts),
            TOGETHER: partial(write_together, engine, config, prompts),
        }
        timed = interleave(arms, rounds, warmup=0, clock=clock)
        speeds = {name: len(prompts) / arm.median for name, arm in timed.items()}
        pairs = [
            alone == together
            for texts in zip(timed[ALONE].values, timed[TOGETHER].values, strict=True)
            for alone, together in zip(*texts, strict=True)
        ]
        run.add(
            {"setting": setting, "texts": len(prompts)},
            {
                "texts_per_second": speeds[TOGETHER],
                "alone_texts_per_second": speeds[ALONE],
                "ratio_to_alone": ratio(speeds[TOGETHER], speeds[ALONE]),
                "rows_per_pass": rows_per_pass(before, engine.stats()),
                "same_texts": 100 * sum(pairs) / len(pairs),
            },
        )
    engine.close()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What writes, how, and how many at once."""
    add_checkpoint_flags(parser, texts=64)
    parser.add_argument("--running", type=int, default=16, help="jobs at once (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of all texts (%(default)s)")
    parser.add_argument(
        "--settings", nargs="+", default=SETTINGS, metavar="NAME=VALUE,...", help="of sampling (%(default)s)"
    )


benchmark = Benchmark(
    "speed/serving_engine",
    __doc__,
    measure,
    claim="16 texts at once are written at 3 times the rate of one at a time",
    peer="the pipeline of the same checkpoint, one text at a time",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
