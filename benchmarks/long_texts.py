"""What becomes of the likelihood when a text is longer than the context.

    ./run.sh benchmarks/long_texts.py checkpoints/long/last.ckpt text.txt --tokens 20000

Reads the end of a text with the memory alone, in the windows that `sample --seq_len` writes in: each begins with the last
half of the one before. Prints nats a token by how much of the text is in the memory, for those windows and, as the
peer, for windows that begin with nothing; then the means over the text and their ratio. The memory of a window is never
more than context_length tokens, however long the text.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from sunfish.hardware.device import set_threads
from sunfish.sampling.pipeline import Pipeline

ROW = "{:>22} {:>12} {:>10}"


@torch.no_grad()
def losses(pipeline: Pipeline, ids: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Nats of each token of ``ids [M]``, and how many tokens of the text its window holds before it."""
    context, end = pipeline.model.config.context_length, pipeline.tokenizer.end
    found, before, written = [], [], 0
    while written < len(ids):
        history = min(kept, written)
        window = ids[written - history : written - history + context - 1]
        row = torch.cat([torch.tensor([end]), window])[None]
        _, logits = pipeline.model.remember(row[:, :-1], pipeline.encode([""]))
        nats = -torch.log_softmax(logits[0].double(), dim=-1).gather(-1, row[0, 1:, None]).squeeze(-1)
        found.append(nats[history:])
        before.append(torch.arange(history, len(window)))
        written += len(window) - history
    return torch.cat(found), torch.cat(before)


def main() -> None:
    """Parse, read, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=20_000)
    arguments = parser.parse_args()
    set_threads(0)
    pipeline = Pipeline.from_checkpoint(arguments.checkpoint)
    context = pipeline.model.config.context_length
    text = arguments.text.read_text(encoding="utf-8")
    ids = torch.tensor(pipeline.tokenizer.encode(text[-20 * arguments.tokens :])[-arguments.tokens :])
    print(f"{len(ids):,} tokens of text, at most {context} of them in the memory")
    print(ROW.format("tokens in the memory", "windows", "fresh"))
    results = [losses(pipeline, ids, kept) for kept in (context // 2 - 1, 0)]
    edges = sorted({0, 8, context // 8, context // 4, context // 2, 3 * context // 4, context})
    for low, high in pairwise(edges):
        cells = []
        for nats, before in results:
            chosen = nats[(before >= low) & (before < high)]
            cells.append(f"{float(chosen.mean()):.3f}" if len(chosen) >= 100 else "-")
        print(ROW.format(f"{low} to {high - 1}", *cells))
    means = [float(nats.mean()) for nats, _ in results]
    print(ROW.format("all", *(f"{mean:.3f}" for mean in means)), f"ratio {means[0] / means[1]:.3f}")


if __name__ == "__main__":
    main()
