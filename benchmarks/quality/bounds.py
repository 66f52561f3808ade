"""Owns what held-out text costs, in nats, by the same estimator for every network.

The bound of masked diffusion with fixed counts (LLaDA, Nie et al. 2025, eq. 6): of a block's n positions k
are masked, k uniform over 1 .. n and stratified over the rows, and the masked cross-entropies count n / k.
Every row is taken ``draws`` times. No prompts are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.config import ProcessConfig
from sunfish.data.dataloader import BatchLoader
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.rng import RowGenerators, make_generator
from sunfish.training.loss import losses_at
from sunfish.training.time_sampling import fixed_count_mask, sample_block_times
from sunfish.types import Batch, Condition, Process

# Sum of the masked cross-entropies, each divided by its time, of a batch at (x_t, t, block length).
Loss = Callable[[Batch, Tensor, Tensor, int], float]
EVAL_ROWS = 64  # of a batch


class HeldOut(NamedTuple):
    """Rows that nobody was trained on."""

    batches: BatchLoader
    rows: int  # how many of them are used; 0: all
    mask_id: int
    context_length: int

    def in_order(self) -> list[Batch]:
        """All rows, in batches of similar lengths."""
        return list(self.batches.in_order(self.rows, EVAL_ROWS))

    def num_tokens(self) -> int:
        """Tokens that are predicted: all but the known first one of each row."""
        return sum(int((batch.lengths - 1).sum()) for batch in self.in_order())

    def num_bytes(self) -> int:
        """Bytes of the rows' texts."""
        return int(self.batches.split.bytes[self.batches.spread_rows(self.rows)].sum())


@torch.no_grad()
def bound(held_out: HeldOut, loss: Loss, block_length: int, draws: int) -> float:
    """Nats over all rows, at most, as the mean of ``draws`` draws of masks."""
    total = 0.0
    for draw in range(draws):
        for number, batch in enumerate(held_out.in_order()):
            generator = make_generator("held out", draw, number)
            t = sample_block_times(batch, block_length, 0.0, 1.0, generator)
            masked, share = fixed_count_mask(t, block_length, RowGenerators([generator]))
            total += loss(batch, batch.x0.masked_fill(masked > 0, held_out.mask_id), share, block_length)
    return total / draws


def sunfish_loss(model: Transformer) -> Loss:
    """The loss of a masked SunFish that is given no prompts."""
    process = masked_process(model)

    def loss(batch: Batch, x_t: Tensor, t: Tensor, block_length: int) -> float:
        device = model.token_embedding.device
        batch, x_t, t = batch.to(device), x_t.to(device), t.to(device)
        condition = unprompted(batch, model)
        losses = losses_at(model, process, batch, condition, x_t, t, block_length, 0.0, evaluating=True)
        return float(losses.canvas) * float((batch.lengths - 1).sum())

    return loss


@torch.no_grad()
def next_token(held_out: HeldOut, model: Transformer) -> float:
    """Nats over all rows of SunFish as an autoregressive model: exact, no bound."""
    total, process = 0.0, masked_process(model)
    for cpu_batch in held_out.in_order():
        batch = cpu_batch.to(model.token_embedding.device)
        known = torch.zeros(batch.x0.shape, device=batch.x0.device)
        condition = unprompted(batch, model)
        losses = losses_at(model, process, batch, condition, batch.x0, known, held_out.context_length, 1.0)
        total += float(losses.next_token) * float((batch.lengths - 1).sum())
    return total


def masked_process(model: Transformer) -> Process:
    """The masking process over the model's vocabulary."""
    return build_process(ProcessConfig(), model.config.vocab_size).with_embeddings(model.token_embedding)


def unprompted(batch: Batch, model: Transformer) -> Condition:
    """The condition of rows that have no prompt."""
    return model.encode(batch.prompt[:, :4], batch.prompt_mask[:, :4]).without_prompts()
