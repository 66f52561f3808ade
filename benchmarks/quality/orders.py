"""Owns what held-out stories cost in the order that unmasks them: exact, beside the bound and the next token.

    ./run.sh benchmarks/quality/orders.py checkpoints/small/last.ckpt --threads 1

A sampler whose order depends on what is known alone, not on what was drawn, writes a text in one way only. So the
probability of the text is a product: at each step that of its token at the position whose turn it is (DUEL,
arXiv:2603.01367). Over random orders the mean is the bound of masked diffusion (Ou et al. 2024, arXiv:2406.03736).

The whole text is one canvas, its length given; each step unmasks one position. Prompts are given, and no guidance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
from torch import Tensor

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
from benchmarks.timing import ratio
from sunfish.data.stories import story
from sunfish.model.denoiser import Denoiser
from sunfish.rng import make_generator
from sunfish.sampling.logits import VocabularyMask
from sunfish.types import Condition
from sunfish.utils import UsageError

# From log-probabilities [N, V] of a canvas to a score of each position; of the masked ones the highest is next.
Order = Callable[[Tensor], Tensor]

ORDERS: dict[str, Order] = {
    "leftmost": lambda log_p: -torch.arange(len(log_p), dtype=log_p.dtype, device=log_p.device),
    "confidence": lambda log_p: log_p.amax(dim=-1),
    "entropy": lambda log_p: (log_p.exp() * log_p.clamp(min=-1e30)).sum(dim=-1),
}


@torch.inference_mode()
def nats_in_order(
    denoiser: Denoiser, mask_id: int, condition: Condition, ids: Tensor, known: int, order: Order
) -> float:
    """-log p of ``ids [1, N]`` after its first ``known``, given these and the length, unmasked one at a time."""
    hidden = torch.arange(ids.shape[1], device=ids.device) >= known
    nats = 0.0
    while bool(hidden.any()):
        canvas = torch.where(hidden, mask_id, ids)
        log_p = denoiser.denoise(canvas, hidden[None].float(), condition)[0].double().log_softmax(dim=-1)
        place = int(order(log_p).masked_fill(~hidden, -torch.inf).argmax())
        nats -= float(log_p[place, ids[0, place]])
        hidden[place] = False
    return nats


def shuffled(length: int, *seed: int | str) -> Order:
    """An order that looks at nothing."""
    score = torch.randperm(length, generator=make_generator(*seed)).double()
    return lambda log_p: score.to(log_p.device)


def measure(run: Run) -> None:
    """Every text in every order."""
    checkpoint = checkpoint_path(run)
    need_stories(checkpoint)
    pipeline = open_pipeline(run)
    if pipeline.process.state_kind != "masks":
        raise UsageError(f"{checkpoint} has no masks to unmask; give a model of masked diffusion")
    texts, end = [story(STORY_SEED, "test", index) for index in range(num_texts(run))], pipeline.tokenizer.end
    run.header(weights_dtype(pipeline), model=run_name(checkpoint), texts=len(texts))
    denoiser = VocabularyMask(pipeline.denoiser, pipeline.tokenizer.size)
    mask_id = pipeline.model.config.vocab_size
    totals, tokens = dict.fromkeys(("next token", *ORDERS, "random: the bound"), 0.0), 0
    for number, text in enumerate(texts):
        ids = [end, *pipeline.tokenizer.encode(text.text), end][: pipeline.model.config.context_length]
        row = torch.tensor([ids], device=pipeline.device)
        condition = pipeline.encode([text.prompt])
        tokens += row.shape[1] - 1
        totals["next token"] -= float(pipeline.log_likelihood(row, condition))
        orders = ORDERS | {"random: the bound": shuffled(row.shape[1], "order", run.seed, number)}
        for name, order in orders.items():
            totals[name] += nats_in_order(denoiser, mask_id, condition, row, 1, order)
    for name, total in totals.items():
        figures = {"nats_per_token": total / tokens, "ratio": ratio(total, totals["next token"])}
        run.add({"order": name}, figures)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The checkpoint."""
    add_checkpoint_flags(parser, texts=40)


benchmark = Benchmark(
    "quality/orders",
    __doc__,
    measure,
    claim="from left to right a canvas knows a text best",
    peer="the next token of the same network",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
