"""Validation: the proven bound, the exact next-token likelihood, and how far prompts already work."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from sunfish.data.dataloader import BatchLoader
from sunfish.hardware.device import autocast
from sunfish.model.transformer import Transformer
from sunfish.rng import RowGenerators, make_generator
from sunfish.training.loss import losses_at
from sunfish.training.time_sampling import sample_block_times
from sunfish.types import Process


class Validation(NamedTuple):
    """Nats/token over held-out texts, prompts given, unless it says otherwise."""

    bound: float  # upper bound of the negative log-likelihood, the whole text as one block (see `proven`)
    bits_per_byte: float  # the same bound, per byte of text
    block_bound: float  # the bound at `block_length`
    block_length: int  # the shortest block length of the training mixture
    next_token: float  # exact negative log-likelihood as an autoregressive model
    prompt_gain: float  # bound with shuffled prompts minus bound with the right ones: 0 = prompts do nothing
    texts: int
    proven: bool  # whether the process has a bound; else `bound` is the cross-entropy of the unknown tokens


@torch.no_grad()
def validate(
    model: Transformer,
    process: Process,
    batches: BatchLoader,
    texts: int,
    batch_size: int,
    block_lengths: tuple[int, ...],
    dtype: torch.dtype,
    seed: int = 0,
) -> Validation:
    """Estimate all figures over ``texts`` rows at even distances; noise is seeded, so two models see the same masks.

    Both prompt conditions of ``prompt_gain`` see the same corrupted texts, which cancels most of the variance.
    """
    device, whole_text = model.token_embedding.device, model.config.context_length
    process = process.with_embeddings(model.token_embedding)
    shortest = min(length or whole_text for length in block_lengths)
    sums = dict.fromkeys(("bound", "block", "next", "shuffled"), 0.0)
    tokens = count = 0
    right = batches.in_order(texts, batch_size)
    wrong_prompts = batches.in_order(texts, batch_size, wrong_prompts=True)
    for number, pair in enumerate(zip(right, wrong_prompts, strict=True)):
        batch, other = (part.to(device) for part in pair)
        generator = make_generator("validation", seed, number)
        real = int((batch.lengths - 1).sum())
        with autocast(device, dtype):
            condition = model.encode(batch.prompt, batch.prompt_mask)
            shuffled = model.encode(other.prompt, other.prompt_mask)
            t = sample_block_times(batch, whole_text, 0.0, 1.0, generator)
            x_t = process.corrupt(batch.x0, t, RowGenerators([generator]))
            whole = losses_at(model, process, batch, condition, x_t, t, whole_text, 0.5, evaluating=True)
            wrong = losses_at(model, process, batch, shuffled, x_t, t, whole_text, 0.0, evaluating=True)
            t = sample_block_times(batch, shortest, 0.0, 1.0, generator)
            x_t = process.corrupt(batch.x0, t, RowGenerators([generator]))
            short = losses_at(model, process, batch, condition, x_t, t, shortest, 0.0, evaluating=True)
        sums["bound"] += float(whole.canvas) * real
        sums["next"] += float(whole.next_token) * real
        sums["shuffled"] += float(wrong.canvas) * real
        sums["block"] += float(short.canvas) * real
        tokens += real
        count += batch.x0.shape[0]
    size = float(batches.split.bytes[batches.spread_rows(texts)].sum())
    return Validation(
        bound=sums["bound"] / tokens,
        bits_per_byte=sums["bound"] / math.log(2) / size,
        block_bound=sums["block"] / tokens,
        block_length=shortest,
        next_token=sums["next"] / tokens,
        prompt_gain=(sums["shuffled"] - sums["bound"]) / tokens,
        texts=count,
        proven=process.is_elbo,
    )
