"""Owns the claim: gaps are filled so that the whole text stays grammatical. For checkpoints of the built-in stories.

    ./run.sh benchmarks/quality/infilling.py checkpoints/tiny/last.ckpt --texts 60 --threads 1

Words, phrases and sentences are cut out of held-out stories and filled again, given the prompt. The arms are the
posterior of the causal mode, which has to find the length as well; the canvas, denoised from left to right at the
true length; and the causal mode at the true length without a look at the right side. With ``--llama`` there are two
more, of a Llama that benchmarks/peers/fill_in_the_middle.py trained to fill one gap: it, which has to find the length,
and its continuation of the left side at the true length. For each kind of gap and arm:
the percentage of texts that are grammatical as a whole; of texts whose new names stand in the given text or are
introduced; median seconds a text; their ratio to the median seconds of a whole story that ``verified`` writes alone;
and the median effective sample size. At the end, how many of eight fills of one sentence differ.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import (
    add_checkpoint_flags,
    checkpoint_path,
    need_stories,
    num_texts,
    open_pipeline,
    run_name,
    weights_dtype,
)
from benchmarks.metrics import percent
from benchmarks.quality.filling_arms import ARMS, GUIDANCE, Arm, Filled, llama_arms, posterior
from benchmarks.quality.gaps import LENGTHS, draw_tasks, gap_lengths
from benchmarks.timing import Timed, interleave, ratio
from sunfish.config import GenerationConfig
from sunfish.config.generation import FILLING, NUM_PARTICLES
from sunfish.data.stories.lexicon import NAMES
from sunfish.data.stories.oracle import grammatical
from sunfish.sampling.pipeline import Pipeline

NAME = re.compile(r"[A-Z][a-z]+")
INTRODUCED = re.compile(r"\b(?:named|friend) ([A-Z][a-z]+)")
STORY, DRAWS, DRAW_STORIES = "story", 8, 10


def names_agree(filled: Filled) -> bool:
    """Whether each name in the fills stands in the given text too, or is introduced, as in "a girl named Mia"."""
    given = filled.task.replaced([""] * len(filled.fills))
    known = {*NAME.findall(given), *INTRODUCED.findall(filled.text)}
    return (set(NAME.findall(" ".join(filled.fills))) & set(NAMES)) <= known


def is_grammatical(text: str) -> bool:
    """Whether the oracle accepts every sentence."""
    return all(accepted for _, accepted in grammatical(text))


def figures_of(timed: Timed[Filled], story_seconds: float) -> dict[str, float | None]:
    """All figures of one arm."""
    sizes = [one.effective_sample_size for one in timed.values if one.effective_sample_size is not None]
    return {
        "grammatical": percent(is_grammatical(one.text) for one in timed.values),
        "names_agree": percent(names_agree(one) for one in timed.values),
        "seconds_per_fill": timed.median,
        "story_seconds": story_seconds,
        "ratio": ratio(timed.median, story_seconds),
        "effective_sample_size": median(sizes) if sizes else None,
    }


def measure_kind(run: Run, pipeline: Pipeline, kind: str, peers: dict[str, Arm]) -> None:
    """Every arm fills the same gaps, in turns with whole stories; ``peers`` fill a single one."""
    tasks, lengths = draw_tasks(run, kind, num_texts(run)), gap_lengths(run, kind)
    chosen = {name: ARMS[name] for name in run.arguments.arms} | (peers if len(tasks[0].spans) == 1 else {})

    def fill(arm: str, number: int) -> Filled:
        return chosen[arm](pipeline, tasks[number], lengths, run.seed + number)

    def write(number: int) -> Filled:
        task = tasks[number]
        done = pipeline.generate([task.prompt], GenerationConfig(), seed=run.seed + number)[0]
        return Filled(task, done.text, [done.text])

    arms: dict[str, Callable[[int], Filled]] = {STORY: write}
    arms.update({name: functools.partial(fill, name) for name in chosen})
    timed = interleave(arms, rounds=len(tasks), clock=run.clock)
    seconds = timed.pop(STORY).median
    for name, results in timed.items():
        run.add({"kind": kind, "arm": name}, figures_of(results, seconds))
        for filled in results.values[: run.arguments.show]:
            words = filled.task.replaced([f"[{part.strip()}]" for part in filled.fills])
            run.say(f"\n[{kind}, {name}, {'good' if is_grammatical(filled.text) else 'bad'}] {words}")


def measure(run: Run) -> None:
    """Each kind of gap in turn, then how much fills of one sentence differ."""
    checkpoint = checkpoint_path(run)
    need_stories(checkpoint)
    pipeline = open_pipeline(run)
    run.header(
        weights_dtype(pipeline),
        model=run_name(checkpoint),
        texts=num_texts(run),
        particles=NUM_PARTICLES,
        temperature=FILLING.temperature,
        guidance=GUIDANCE,
    )
    peers = llama_arms(run, pipeline)
    for kind in run.arguments.kinds:
        measure_kind(run, pipeline, kind, peers)
    if "posterior" in run.arguments.arms:
        measure_draws(run, pipeline)


def measure_draws(run: Run, pipeline: Pipeline) -> None:
    """How many of several fills of one sentence differ."""
    tasks = draw_tasks(run, "sentence", min(num_texts(run), DRAW_STORIES))
    lengths, seeds = gap_lengths(run, "sentence"), range(run.seed, run.seed + DRAWS)
    distinct = [len({posterior(pipeline, task, lengths, seed).text for seed in seeds}) for task in tasks]
    run.add({"kind": "sentence", "arm": "posterior", "draws": DRAWS}, {"distinct_fills": fmean(distinct)})


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, the gaps, and what fills them."""
    add_checkpoint_flags(parser, texts=60)
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=LENGTHS,
        default=list(LENGTHS),
        help="of gaps; two: of a sentence each (all)",
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="what fills them (all)")
    parser.add_argument("--llama", type=Path, help="what benchmarks/peers/fill_in_the_middle.py saved")
    parser.add_argument("--show", type=int, default=0, help="texts to print of each (%(default)s)")


benchmark = Benchmark(
    "quality/infilling",
    __doc__,
    measure,
    claim="a gap is filled to suit both sides, at a length that nobody gave",
    peer="a Llama trained to fill gaps; the canvas and the left side alone; for seconds, a whole story",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
