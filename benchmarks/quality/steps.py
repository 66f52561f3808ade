"""Owns the claim: few denoising steps a block will do. Quality over the number of steps, for each sampler.

    ./run.sh benchmarks/quality/steps.py checkpoints/small/last.ckpt --judge checkpoints/tiny/last.ckpt

Every sampler generates the same held-out prompts with 4 to 128 denoising steps a block; at ``--block_length
0`` the block is the whole text. It reports the passes through the network for a batch, seconds a text,
grammar and constraints by the oracle, nats/token by the causal pass of ``--judge`` (another checkpoint),
entropy, and distinct 1-, 2- and 3-grams. The quality is grammar times constraints; the ratio is to the same
sampler with the most steps, and for ``verified``, which takes no steps, to the best of all.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    checkpoint_path,
    need_stories,
    num_texts,
    open_pipeline,
    run_name,
    story_prompts,
    weights_dtype,
)
from benchmarks.metrics import distinct_ngrams, judge_nats, oracle_figures, unigram_entropy
from benchmarks.plots import plot_lines
from benchmarks.timing import ratio
from sunfish.config import GenerationConfig
from sunfish.config.generation import VERIFIED
from sunfish.sampling.pipeline import Pipeline

SAMPLERS = (
    "corrected",
    "leftmost",
    "confidence",
    "first-hitting",
    "entropy:0.1",
    "threshold:0.9",
    "prefix:0.5",
    "remask:0.05",
)
SMOKE_SAMPLERS, SMOKE_STEPS = ("leftmost", "confidence"), (4, 2)


class Sweep:
    """A checkpoint whose passes are counted, the prompts it answers, and what judges the texts."""

    def __init__(self, run: Run) -> None:
        """Open the checkpoints."""
        self.run, self.passes = run, 0
        self.pipeline = open_pipeline(run)
        judge = run.arguments.judge
        self.judge = Pipeline.from_checkpoint(judge, run.device) if judge else None
        self.prompts = story_prompts(num_texts(run))
        self.pipeline.model.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.passes += 1

    def figures(self, config: GenerationConfig) -> dict[str, float | None]:
        """Generate the prompts' texts, judge them."""
        self.passes, begin, batch = 0, self.run.clock(), self.run.arguments.batch
        texts = self.pipeline.generate(self.prompts, config, seed=self.run.seed, batch_size=batch)
        seconds = (self.run.clock() - begin) / len(texts)
        oracle = oracle_figures(self.pipeline, texts)
        return {
            "passes_per_batch": self.passes / -(-len(texts) // batch),
            "seconds_per_text": seconds,
            **oracle,
            "quality": (oracle["grammar"] or 0.0) * (oracle["constraints"] or 0.0) / 100,
            "judge": judge_nats(self.judge, texts) if self.judge else None,
            "entropy": unigram_entropy(texts),
            **{f"distinct_{n}": distinct_ngrams(texts, n) for n in (1, 2, 3)},
        }


def measure(run: Run) -> None:
    """Every sampler with every number of steps, then verified."""
    arguments, checkpoint = run.arguments, checkpoint_path(run)
    need_stories(checkpoint)
    sweep = Sweep(run)
    run.header(
        weights_dtype(sweep.pipeline),
        model=run_name(checkpoint),
        block_length=arguments.block_length,
        guidance=arguments.guidance,
        temperature=arguments.temperature,
        texts=len(sweep.prompts),
    )
    shared = {"temperature": arguments.temperature, "guidance_scale": arguments.guidance}
    qualities: dict[str, dict[int, float]] = {}
    for sampler in SMOKE_SAMPLERS if run.smoke else arguments.samplers:
        qualities[sampler] = {}
        for steps in sorted(SMOKE_STEPS if run.smoke else arguments.steps, reverse=True):
            config = GenerationConfig(
                sampler=sampler, num_steps=steps, block_length=arguments.block_length, **shared
            )
            figures = sweep.figures(config)
            qualities[sampler][steps] = quality = figures["quality"] or 0.0
            most = qualities[sampler][max(qualities[sampler])]
            run.add({"sampler": sampler, "steps": steps}, {**figures, "ratio": ratio(quality, most)})
    figures = sweep.figures(GenerationConfig(sampler=VERIFIED, **shared))
    best = max(quality for by_steps in qualities.values() for quality in by_steps.values())
    verified = figures["quality"] or 0.0
    run.add({"sampler": VERIFIED, "steps": 0}, {**figures, "ratio": ratio(verified, best)})
    if run.plot:
        draw(run.plot, qualities, verified)


def draw(path: Path, qualities: dict[str, dict[int, float]], verified: float) -> None:
    """Quality over steps, a line a sampler."""
    lines = {
        name: (sorted(by_steps), [by_steps[steps] for steps in sorted(by_steps)])
        for name, by_steps in qualities.items()
    }
    steps = sorted({step for by_steps in qualities.values() for step in by_steps})
    lines["verified (no steps)"] = (steps, [verified] * len(steps))
    plot_lines(
        path, lines, x="denoising steps a block", y="grammar x constraints, %", percent=True, log2=True
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What generates, and the sweep."""
    add_checkpoint_flags(parser, texts=40)
    parser.add_argument("--judge", type=Path, help="another checkpoint, trained apart")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128], help="(%(default)s)")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS, help="(%(default)s)")
    parser.add_argument("--block_length", type=int, default=0, help="0: the whole text (%(default)s)")
    parser.add_argument(
        "--temperature", type=float, default=GenerationConfig.temperature, help="(%(default)s)"
    )
    parser.add_argument("--guidance", type=float, default=1.0, help="guidance scale (%(default)s)")
    parser.add_argument("--batch", type=int, default=20, help="texts at a time (%(default)s)")


benchmark = Benchmark(
    "quality/steps",
    __doc__,
    measure,
    claim="few denoising steps a block give the quality of many",
    peer="the same sampler with the most steps",
    add_flags=add_flags,
    plots=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
