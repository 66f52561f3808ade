"""From a batch to the scalar that is minimised: the only place that reduces losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sunfish.config import TrainingConfig
from sunfish.model.transformer import Transformer
from sunfish.processes.schedules import stratified_times
from sunfish.rng import Streams
from sunfish.types import Batch, Condition, Process

CHUNK = 512  # positions whose logits are in memory at a time
# One in so many unknown positions teaches the draft head, which then costs next to nothing; odd, so that all places of a
# block have their turn.
DRAFTED_EVERY = 7
SELF_CONDITIONED = 0.5  # share of the steps that are shown an estimate (Chen et al. 2023, algorithm 1)


class Losses(NamedTuple):
    """Scalars of one batch, all but ``total`` for reports: nats per token."""

    total: Tensor  # what is minimised
    canvas: Tensor  # the diffusion loss, per real token, over the drawn times and block length
    cross_entropy: Tensor  # mean cross-entropy of the corrupted tokens, about ln V before training
    next_token: Tensor  # mean next-token cross-entropy of the causal memory
    draft: Tensor  # mean cross-entropy of the corrupted tokens for the draft head, which is told the token before


def block_times(
    batch: Batch, block_length: int, low: float, high: float, generator: torch.Generator | None
) -> Tensor:
    """Times ``[B, N]`` for training: one for each block, stratified over the batch, in (low, high].

    The start mark at position 0 is known, so its time is 0.
    """
    rows, length = batch.x0.shape
    block = block_length or length
    times = low + (high - low) * stratified_times(rows, -(-length // block), generator)
    t = times.repeat_interleave(block, dim=1)[:, :length].clone()
    t[:, 0] = 0.0
    return t.to(batch.x0.device)


def training_times(
    batch: Batch,
    block_length: int,
    process: Process,
    training: TrainingConfig,
    generator: torch.Generator | None,
) -> Tensor:
    """:func:`block_times` between the mask rates of ``training``; up to 1 for a network that is told the time.

    That one must know all times. Masks teach most where some context is left (docs/log.md).
    """
    highest = 1.0 if process.sees_time else training.mask_rate_max
    return block_times(batch, block_length, training.mask_rate_min, highest, generator)


def exact_counts(t: Tensor, block_length: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Which positions to mask, as times 1 and 0, and the share k / n of each block that they are, ``[B, N]`` both.

    k = ceil(t n) of a block's n unknown positions, at random. Uniform t makes k uniform in 1 .. n, and n / k times the
    masked cross-entropy is the same bound in the mean (LLaDA, Nie et al. 2025, eq. 6), with less variance.
    """
    rows, length = t.shape
    block = block_length or length
    unknown = t > 0
    blocks = -(-length // block)
    pad = blocks * block - length
    score = torch.rand(rows, length, generator=generator).to(t.device).masked_fill(~unknown, 2.0)
    score = F.pad(score, (0, pad), value=2.0).view(rows, blocks, block)
    free = (score < 2).sum(-1, keepdim=True)
    time = F.pad(t, (0, pad)).view(rows, blocks, block).amax(-1, keepdim=True)
    count = torch.ceil(time * free - 1e-6)
    rank = score.argsort(-1).argsort(-1)
    chosen = (rank < count).view(rows, -1)[:, :length]
    share = (count / free.clamp(min=1)).expand(-1, -1, block).reshape(rows, -1)[:, :length]
    return chosen.to(t.dtype), torch.where(unknown, share, torch.zeros_like(t))


def with_complement(noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What :func:`exact_counts` returned, and behind it a second canvas that masks just the others, ``[B, 2 N]`` both.

    Each token of a text is then asked for once in a step, and the share of the second canvas is the rest of the first's.
    """
    unknown = t > 0
    other = unknown & (noise == 0)
    share = torch.where(unknown, 1 - t, torch.zeros_like(t))
    return torch.cat([noise, other.to(noise.dtype)], dim=1), torch.cat([t, share], dim=1)


def objective(
    model: Transformer,
    process: Process,
    batch: Batch,
    generator: torch.Generator,
    block_length: int,
    training: TrainingConfig,
) -> Losses:
    """The joint loss of one batch: (1 - w) * diffusion loss + w * next-token cross-entropy.

    ``block_length`` 0 is the whole text. Sums run over every position (behind the end mark comes the end mark, which
    is how the model learns where a text ends); both are divided by the number of real tokens.
    Uses the same ``read`` and ``canvas`` that sampling uses, so the two cannot drift apart.
    """
    t = training_times(batch, block_length, process, training, generator)
    dropped = torch.rand(batch.x0.shape[0], generator=generator) < training.prompt_dropout
    cond = model.encode(batch.prompt, batch.prompt_mask).drop(dropped.to(batch.x0.device))
    noise = t
    if training.exact_count:
        noise, t = exact_counts(t, block_length, generator)
        if training.complementary and 0 < training.next_token_weight < 1:
            noise, t = with_complement(noise, t)
    x0 = batch.x0.repeat(1, t.shape[1] // batch.x0.shape[1])
    x_t = process.corrupt(x0, noise, model.table, Streams([generator]))
    estimates = model.estimate is not None and training.next_token_weight < 1
    if estimates and float(torch.rand((), generator=generator)) < SELF_CONDITIONED:
        x_t = with_estimate(model, process, batch, cond, x_t, t, block_length)
    return losses_at(
        model, process, batch, cond, x_t, t, block_length, training.next_token_weight, training.unweighted
    )


@torch.no_grad()
def with_estimate(
    model: Transformer,
    process: Process,
    batch: Batch,
    cond: Condition,
    x_t: Tensor,
    t: Tensor,
    block_length: int,
) -> Tensor:
    """``x_t [B, N, 2E]`` with the model's own estimate of the clean embeddings, which sampling has after one step."""
    whole = block_length == 0 or block_length >= batch.x0.shape[1]
    past = None if whole else model.read(batch.x0, cond)[0]
    logits = model(x_t, t, cond, past, 0, block_length)
    return torch.where(t[..., None] > 0, process.estimated(logits, x_t, t, model.table), x_t)


def losses_at(
    model: Transformer,
    process: Process,
    batch: Batch,
    cond: Condition,
    x_t: Tensor,
    t: Tensor,
    block_length: int,
    next_token_weight: float,
    unweighted: bool = False,
    evaluates: bool = False,
) -> Losses:
    """The losses for a given corruption ``x_t [B, N]`` at times ``t [B, N]``, or for several, one behind the other.

    Of several canvases of a text the loss is the mean; they need a pass together with reading, see ``Transformer.both``.
    ``unweighted``: every unknown token counts alike (MaskGIT). ``evaluates``: the canvas loss is the bound even where
    training minimises something easier, or the plain cross-entropy where there is no bound.
    """
    length = batch.x0.shape[1]
    tokens = (batch.lengths - 1).sum().clamp(min=1)
    zero = model.table.new_zeros(())
    past, next_token, canvas, cross_entropy, draft = None, zero, zero, zero, zero
    whole = block_length == 0 or block_length >= length
    together = 0 < next_token_weight < 1 and not model.decoder
    if together:
        read, drawn = model.both(batch.x0, x_t, t, cond, block_length)
    elif next_token_weight > 0 or not whole:
        past, read = model.read(batch.x0, cond)
    if next_token_weight > 0:
        real = places(torch.arange(length, device=batch.x0.device) < (batch.lengths - 1)[:, None])
        targets = batch.x0.flatten()[real + 1]
        weights = torch.ones_like(targets, dtype=torch.float32)
        summed, _ = model.cross_entropy(read.flatten(0, 1).index_select(0, real), targets, weights)
        next_token = summed / tokens
    if next_token_weight < 1:
        if not together:
            drawn = model.canvas(x_t, t, cond, None if whole else past, 0, block_length)
        scored = places(process.scored(x_t, t, model.table))
        canvases = t.shape[1] // length
        x0 = batch.x0.repeat(1, canvases)
        # Whole rows are selected: for the gradient that takes half of the time of indexing.
        hidden = drawn.flatten(0, 1).index_select(0, scored)
        parts = (hidden, x0.flatten()[scored], x_t.flatten(0, 1)[scored], t.flatten()[scored])
        weights = process.weight(*parts[2:], model.table)
        weights = torch.ones_like(weights) if unweighted else weights
        summed, losses = canvas_losses(model, process, *parts, weights, evaluates)
        canvas = summed / (canvases * tokens)
        cross_entropy = losses.mean() if losses.numel() else zero
        if not evaluates:
            draft = draft_loss(model, drawn, x0, scored)
    total = (1 - next_token_weight) * canvas + next_token_weight * next_token + draft
    return Losses(total, canvas.detach(), cross_entropy.detach(), next_token.detach(), draft.detach())


def places(where: Tensor) -> Tensor:
    """Where ``[B, N]`` bool is True, as places in the rows one behind the other, ``[M]``."""
    return where.flatten().nonzero().squeeze(1)


def draft_loss(model: Transformer, drawn: Tensor, x0: Tensor, scored: Tensor) -> Tensor:
    """The draft head's loss, a scalar, over some of the :func:`places` ``scored [M]`` of canvas states ``[B, N, D]``."""
    some, ids = scored[::DRAFTED_EVERY], x0.flatten()
    return model.draft_loss(drawn.detach().flatten(0, 1)[some], ids[some - 1], ids[some])


def canvas_losses(
    model: Transformer,
    process: Process,
    hidden: Tensor,
    x0: Tensor,
    x_t: Tensor,
    t: Tensor,
    weights: Tensor,
    evaluates: bool,
) -> tuple[Tensor, Tensor]:
    """The diffusion loss's sum over M scored positions, and their cross-entropies ``[M]`` without a gradient."""
    if process.evidence(x_t[:1], t[:1], model.table) is None:
        return model.cross_entropy(hidden, x0, weights)

    def losses_of(
        hidden: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = model.head(hidden).float()
        evidence = process.evidence(x_t, t, model.table)
        assert evidence is not None
        cross_entropy = F.cross_entropy(logits + evidence, x0, reduction="none")
        if evaluates:
            bound = process.loss(logits, x0, x_t, t) if process.has_bound else cross_entropy
            return bound.sum(), cross_entropy
        return (weights * cross_entropy).sum(), cross_entropy.detach()

    summed, found = hidden.new_zeros((), dtype=torch.float32), []
    for begin in range(0, len(x0), CHUNK):
        rows = slice(begin, begin + CHUNK)
        parts = (hidden[rows], x0[rows], x_t[rows], t[rows], weights[rows])
        one, cross_entropy = checkpoint(losses_of, *parts, use_reentrant=False)
        summed = summed + one
        found.append(cross_entropy)
    return summed, torch.cat(found) if found else summed.new_zeros(0)
