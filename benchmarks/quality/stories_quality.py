"""Owns the claim: texts are grammatical and satisfy their prompts. For checkpoints of the built-in stories.

    ./run.sh benchmarks/quality/stories_quality.py checkpoints/tiny/last.ckpt --texts 200 --plot tiny.png

For prompts of a held-out split, for each guidance scale: the percentage of sentences that the oracle's
grammar can produce; of the prompts' constraints that their own texts satisfy; the same with the prompts
shuffled among the texts (the peer: what chance gives) and the ratio of the two; of texts that reached their
own end; of distinct texts; how many different names a text has (the header says how many the corpus's own
stories for these prompts have: more mean that somebody's name changes on the way); seconds a text.
"""

from __future__ import annotations

import argparse
import re
import sys

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    STORY_SEED,
    add_checkpoint_flags,
    add_generation_flags,
    at_each_scale,
    checkpoint_path,
    generation_config,
    need_stories,
    num_texts,
    open_pipeline,
    plot_scales,
    run_name,
    weights_dtype,
)
from benchmarks.metrics import distinct_texts, finished, oracle_figures, shuffled_constraints
from benchmarks.timing import ratio
from sunfish.data.stories import story
from sunfish.data.stories.lexicon import NAMES
from sunfish.data.stories.oracle import check
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline


def names_per_text(texts: list[str]) -> float:
    """Mean number of different names in a text."""
    return sum(len(set(re.findall(r"[A-Z][a-z]+", text)) & set(NAMES)) for text in texts) / len(texts)


def figures_of(pipeline: Pipeline, texts: list[Generated], seconds: float) -> dict[str, float | None]:
    """All figures of one set of texts."""
    figures, chance = oracle_figures(pipeline, texts), shuffled_constraints(pipeline, texts)
    return {
        **figures,
        "shuffled_constraints": chance,
        "ratio": ratio(figures["constraints"] or 0.0, chance),
        "finished": finished(texts),
        "distinct": distinct_texts(texts),
        "names_per_text": names_per_text([text.text for text in texts]),
        "seconds_per_text": seconds / len(texts),
    }


def measure(run: Run) -> None:
    """Generate at each scale, judge."""
    arguments, checkpoint = run.arguments, checkpoint_path(run)
    need_stories(checkpoint)
    pipeline, config = open_pipeline(run), generation_config(arguments)
    stories = [story(STORY_SEED, arguments.split, index) for index in range(num_texts(run))]
    run.header(
        weights_dtype(pipeline),
        f"{config}",
        f"the corpus's own stories have {names_per_text([one.text for one in stories]):.2f} names each",
        model=run_name(checkpoint),
        split=arguments.split,
        texts=len(stories),
        sampler=f"{config.sampler}/{config.block_length}",
        temperature=config.temperature,
        best_of=arguments.best_of,
    )
    labels = {
        "grammar": "grammatical sentences",
        "constraints": "constraints satisfied",
        "shuffled_constraints": "satisfied by chance (prompts shuffled)",
    }
    prompts = [one.prompt for one in stories]
    for scale, texts, seconds in at_each_scale(run, pipeline, prompts, verdict):
        run.add({"guidance": scale}, figures_of(pipeline, texts, seconds))
    plot_scales(run, labels, run_name(checkpoint))


def verdict(text: Generated) -> str:
    """Which constraints a text satisfies."""
    return str(check(text.prompt, text.text))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What generates, and which prompts."""
    add_checkpoint_flags(parser, texts=200)
    add_generation_flags(parser, scales=(0, 1, 1.5, 2, 4, 7))
    parser.add_argument(
        "--split",
        default="test",
        choices=("test", "compositional"),
        help="compositional: pairs of topic and place that training never saw (%(default)s)",
    )


benchmark = Benchmark(
    "quality/stories_quality",
    __doc__,
    measure,
    claim="guidance makes texts satisfy their prompts, and they stay grammatical",
    peer="the same texts with the prompts shuffled: chance",
    add_flags=add_flags,
    plots=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
