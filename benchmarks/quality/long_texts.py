"""Owns the claim: a text longer than the context costs hardly more nats than a text within it.

    ./run.sh benchmarks/quality/long_texts.py checkpoints/long/last.ckpt text.txt --tokens 20000

Reads the end of a text with the causal pass, in the windows in which ``sample --seq_len`` generates: each
begins with the last half of the one before. It reports nats/token by how much of the text is in the cache,
for those windows and, as the peer, for windows that begin with nothing; then the means over the text and
their ratio. The cache of a window never has more than context_length tokens, however long the text.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.frame import Benchmark, Run
from benchmarks.generation import STORY_SEED, checkpoint_path, run_name
from benchmarks.smoke import smoke_text
from benchmarks.timing import ratio
from sunfish.data.stories import story
from sunfish.sampling.pipeline import Pipeline
from sunfish.utils import UsageError

FEWEST = 100  # tokens in a mean
CHARACTERS_PER_TOKEN = 20  # at most


@torch.no_grad()
def window_losses(pipeline: Pipeline, ids: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Nats of each token of ``ids [M]``, and how many tokens of the text its window has before it.

    Args:
        pipeline: The model.
        ids: A text.
        kept: Tokens that a window takes over from the one before.
    """
    context, end = pipeline.model.config.context_length, pipeline.tokenizer.end
    nats, before, done = [], [], 0
    while done < len(ids):
        history = min(kept, done)
        window = ids[done - history : done - history + context - 1]
        row = torch.cat([torch.tensor([end]), window])[None].to(pipeline.device)
        logits, _ = pipeline.model.prefill(row[:, :-1], pipeline.encode([""]))
        losses = -torch.log_softmax(logits[0].double(), dim=-1).gather(-1, row[0, 1:, None]).squeeze(-1)
        nats.append(losses[history:].cpu())
        before.append(torch.arange(history, len(window)))
        done += len(window) - history
    return torch.cat(nats), torch.cat(before)


def measure(run: Run) -> None:
    """Read, print."""
    arguments, checkpoint = run.arguments, checkpoint_path(run)
    path = arguments.text
    if path is None and run.smoke:
        path = smoke_text("stories", "\n".join(story(STORY_SEED, "test", i).text for i in range(3)))
    if path is None:
        raise UsageError("text is missing; name a text file")
    pipeline = Pipeline.from_checkpoint(checkpoint, run.device)
    context = pipeline.model.config.context_length
    text = path.read_text(encoding="utf-8")
    encoded = pipeline.tokenizer.encode(text[-CHARACTERS_PER_TOKEN * arguments.tokens :])
    ids = torch.tensor(encoded[-arguments.tokens :])
    run.header(torch.float32, model=run_name(checkpoint), text=path.name, tokens=len(ids), context=context)
    windows, fresh = (window_losses(pipeline, ids, kept) for kept in (context // 2 - 1, 0))
    edges = sorted({0, 8, context // 8, context // 4, context // 2, 3 * context // 4, context})
    for low, high in [*pairwise(edges), (0, context)]:
        means = []
        for nats, before in (windows, fresh):
            chosen = nats[(before >= low) & (before < high)]
            means.append(float(chosen.mean()) if len(chosen) >= FEWEST else None)
        mean, peer = means
        run.add(
            {"tokens_in_cache": "all" if high - low == context else f"{low} to {high - 1}"},
            {
                "nats_per_token": mean,
                "fresh_nats_per_token": peer,
                "ratio": None if mean is None or peer is None else ratio(mean, peer),
            },
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The checkpoint and the text."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a checkpoint folder")
    parser.add_argument("text", type=Path, nargs="?", help="a text file")
    parser.add_argument("--tokens", type=int, default=20_000, help="of its end (%(default)s)")


benchmark = Benchmark(
    "quality/long_texts",
    __doc__,
    measure,
    claim="sliding windows keep the likelihood of texts longer than the context",
    peer="windows that begin with nothing",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
