"""What held-out text costs, in nats, by the same estimator for every network.

The bound of masked diffusion with exact counts (LLaDA, Nie et al. 2025, eq. 6): of a block's n positions k are
masked, k uniform over 1 .. n and stratified over the rows, and the masked cross-entropies count n / k. Every row is
taken ``draws`` times. No prompts are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.config import ProcessConfig
from sunfish.data.dataloader import Batches
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.rng import generator_of
from sunfish.training.loss import block_times, exact_counts, losses_at
from sunfish.types import Batch, Condition

# Sum of the masked cross-entropies, each divided by its time, of a batch at (x_t, t, block length).
Loss = Callable[[Batch, Tensor, Tensor, int], float]


class Held(NamedTuple):
    """Rows that nobody trained on."""

    batches: Batches
    rows: int  # how many of them are used
    mask: int  # id of the mask

    def batched(self) -> list[Batch]:
        """All rows, in batches of equal lengths."""
        return list(self.batches.in_order(self.rows, 64))

    def tokens(self) -> int:
        """Tokens that are predicted: all but the known first one of each row."""
        return sum(int((batch.lengths - 1).sum()) for batch in self.batched())

    def bytes(self) -> int:
        """Bytes of the rows' texts."""
        count = self.rows or len(self.batches.split)
        return int(self.batches.split.bytes[:count].sum())


@torch.no_grad()
def bound(held: Held, loss: Loss, block_length: int, draws: int) -> float:
    """Nats over all rows, at most, as the mean of ``draws`` draws of masks."""
    total = 0.0
    for draw in range(draws):
        for number, batch in enumerate(held.batched()):
            generator = generator_of("held out", draw, number)
            t = block_times(batch, block_length, 0.0, 1.0, generator)
            masked, share = exact_counts(t, block_length, generator)
            total += loss(batch, batch.x0.masked_fill(masked > 0, held.mask), share, block_length)
    return total / draws


def of_sunfish(model: Transformer) -> Loss:
    """The loss of a masked SunFish that is given no prompts."""
    process = build_process(ProcessConfig())

    def loss(batch: Batch, x_t: Tensor, t: Tensor, block_length: int) -> float:
        device = model.table.device
        batch, x_t, t = batch.to(device), x_t.to(device), t.to(device)
        found = losses_at(
            model, process, batch, unprompted(batch, model), x_t, t, block_length, 0.0, evaluates=True
        )
        return float(found.canvas) * float((batch.lengths - 1).sum())

    return loss


@torch.no_grad()
def next_token(held: Held, model: Transformer) -> float:
    """Nats over all rows of SunFish as an autoregressive model: exact, no bound."""
    total, process = 0.0, build_process(ProcessConfig())
    for batch in held.batched():
        batch = batch.to(model.table.device)
        known = torch.zeros(batch.x0.shape, device=batch.x0.device)
        found = losses_at(model, process, batch, unprompted(batch, model), batch.x0, known, 0, 1.0)
        total += float(found.next_token) * float((batch.lengths - 1).sum())
    return total


def unprompted(batch: Batch, model: Transformer) -> Condition:
    """The condition of rows that have no prompt."""
    nobody = torch.ones(len(batch.x0), dtype=torch.bool, device=batch.x0.device)
    return model.encode(batch.prompt[:, :4], batch.prompt_mask[:, :4]).drop(nobody)
