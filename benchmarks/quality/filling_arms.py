"""Owns what fills the gaps that a benchmark of infilling cuts out: SunFish in three ways, and a Llama in two."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from benchmarks.frame import Run
from benchmarks.peers.fill_in_the_middle import Marks, row_with_gap, write
from benchmarks.peers.llama import open_llama
from benchmarks.quality.gaps import Task
from sunfish.config import GenerationConfig
from sunfish.config.generation import FILLING
from sunfish.rng import RowGenerators
from sunfish.sampling.gaps import encode_gaps, parse
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.prompts import encode_prompt
from sunfish.sampling.speculative import speculative_decoding

GUIDANCE = FILLING.guidance_scale


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


def llama_arms(run: Run, pipeline: Pipeline) -> dict[str, Arm]:
    """The arms of the Llama that the command line names, if any; with ``--smoke``, of one with random weights."""
    if run.arguments.llama is None and not run.smoke:
        return {}
    model = open_llama(run.arguments.llama, pipeline, len(Marks._fields))
    return {name: functools.partial(llama, model=model, sees_right=sees) for name, sees in LLAMA_ARMS.items()}
