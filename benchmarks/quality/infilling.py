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
from typing import Any, NamedTuple

import torch

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
from benchmarks.peers.fill_in_the_middle import Marks, row_with_gap, write
from benchmarks.peers.llama import build_llama
from benchmarks.quality.gaps import LENGTHS, Task, draw_tasks, gap_lengths
from benchmarks.timing import Timed, interleave, ratio
from sunfish.config import GenerationConfig
from sunfish.config.generation import FILLING, NUM_PARTICLES
from sunfish.data.stories.lexicon import NAMES
from sunfish.data.stories.oracle import grammatical
from sunfish.rng import RowGenerators
from sunfish.sampling.gaps import encode_gaps, parse
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.prompts import encode_prompt
from sunfish.sampling.speculative import speculative_decoding

GUIDANCE = FILLING.guidance_scale
NAME = re.compile(r"[A-Z][a-z]+")
INTRODUCED = re.compile(r"\b(?:named|friend) ([A-Z][a-z]+)")
STORY, DRAWS, DRAW_STORIES = "story", 8, 10


class Filled(NamedTuple):
    """A text whose gaps are filled."""

    task: Task
    text: str
    fills: list[str]
    effective_sample_size: float | None = None


Arm = Callable[[Pipeline, Task, str, int], Filled]  # the last two: lengths that a gap may have, the seed


def posterior(pipeline: Pipeline, task: Task, lengths: str, seed: int) -> Filled:
    """The default way of infilling."""
    text = task.masked([lengths] * len(task.spans))
    done = infill(pipeline, text, prompt=task.prompt, seed=seed)[0]
    return Filled(task, done.text, done.fills, done.effective_sample_size)


def canvas(pipeline: Pipeline, task: Task, lengths: str, seed: int) -> Filled:
    """The canvas, one token a step from left to right, at the true length."""
    true = task.true_lengths(pipeline)
    config = GenerationConfig(sampler="leftmost", num_steps=sum(true), guidance_scale=GUIDANCE)
    done = infill(pipeline, task.masked(true), config, prompt=task.prompt, seed=seed)[0]
    return Filled(task, done.text, done.fills)


@torch.no_grad()
def left_only(pipeline: Pipeline, task: Task, lengths: str, seed: int) -> Filled:
    """What ``verified`` writes after the left side, cut at the true length."""
    tokenizer, true = pipeline.tokenizer, task.true_lengths(pipeline)
    config = GenerationConfig(guidance_scale=GUIDANCE)
    encoded = encode_gaps(tokenizer, parse(task.masked(true)), pipeline.model.config.context_length)
    guided, condition = pipeline.guided([task.prompt], config, banned_ids=[tokenizer.end])
    rng, ids, fills = RowGenerators.for_rows(seed, 0, 1), [tokenizer.end, *encoded.pieces[0]], list[str]()
    for length, piece in zip(true, encoded.pieces[1:], strict=True):
        prefix = torch.tensor([ids], device=pipeline.device)
        states = speculative_decoding(
            guided, pipeline.process, condition, prefix, len(ids) + length, rng, config
        )
        fill = torch.cat([state.x for state in states if state.done], dim=1)[0, -length:].tolist()
        fills.append(tokenizer.decode(fill))
        ids += [*fill, *piece]
    return Filled(task, encoded.join(fills), fills)


def llama(pipeline: Pipeline, task: Task, lengths: str, seed: int, model: Any, sees_right: bool) -> Filled:
    """What a Llama writes until it says that the part ends; without a look at the right side, to the true length."""
    tokenizer, config = pipeline.tokenizer, pipeline.model.config
    encoded = encode_gaps(tokenizer, parse(task.masked([lengths])), config.context_length)
    prompt = encode_prompt(tokenizer, task.prompt, config.prompt_length)
    (left, right), marks = encoded.pieces, Marks.after(config.vocab_size)
    if sees_right:
        asked = row_with_gap(prompt, left, right, tokenizer.end, marks)
        ids = write(model, asked, encoded.lengths[0][-1], FILLING.temperature, seed, stop=marks.done)
    else:
        asked, (length,) = [*prompt, tokenizer.end, *left], task.true_lengths(pipeline)
        ids = write(model, asked, length, FILLING.temperature, seed, stop=None)
    fill = tokenizer.decode(ids)
    return Filled(task, encoded.join([fill]), [fill])


ARMS: dict[str, Arm] = {"posterior": posterior, "canvas": canvas, "left": left_only}
LLAMA_ARMS = {"llama": True, "llama_left": False}  # whether it sees the right side


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


def llama_arms(run: Run, pipeline: Pipeline) -> dict[str, Arm]:
    """The arms of the Llama that the command line names, if any; with ``--smoke``, of one with random weights."""
    if run.arguments.llama is None and not run.smoke:
        return {}
    config, marks = pipeline.model.config, Marks.after(pipeline.model.config.vocab_size)
    size = sum(parameter.numel() for parameter in pipeline.model.parameters())
    model = build_llama(config, size, pipeline.tokenizer.end, len(marks))
    if run.arguments.llama is not None:
        model = type(model).from_pretrained(run.arguments.llama, dtype=torch.float32)
    model = model.to(run.device).eval()
    return {name: functools.partial(llama, model=model, sees_right=sees) for name, sees in LLAMA_ARMS.items()}


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
