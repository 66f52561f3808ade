"""From a batch to the scalar that is minimized: the only place that reduces losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sunfish.config import TrainingConfig
from sunfish.model.draft_head import NO_TOKEN
from sunfish.model.kernels.cross_entropy import pad_rows
from sunfish.model.transformer import Transformer
from sunfish.rng import WHOLE, BatchNoise, Share
from sunfish.training.time_sampling import (
    complementary_masks,
    fixed_count_mask,
    has_bell_shaped_rates,
    sample_training_times,
    short_block_weights,
)
from sunfish.types import Batch, Condition, Process, State

CHUNK_POSITIONS = 512  # positions whose logits are in memory at a time
# The draft head learns from one in this many unknown positions, which costs next to nothing, and from every second one of
# a draft. Odd, so that every place in a block has its turn; in a draft, rows that begin at either place see to that.
DRAFT_LOSS_STRIDE, DRAFT_STRIDE = 7, 2
SELF_COND_PROB = 0.5  # share of the steps that are shown an estimate (Chen et al. 2023, algorithm 1)


class Losses(NamedTuple):
    """Scalars of one batch, all but ``total`` for reports: nats/token.

    Of a part of a batch, ``total``, ``canvas`` and ``next_token`` are its share in those of the batch, and sum up to
    them; see :func:`sunfish.training.parallel.add_up`.
    """

    total: Tensor  # what is minimized
    canvas: Tensor  # the diffusion loss, per real token, over the drawn times and block length
    cross_entropy: Tensor  # mean cross-entropy of the corrupted tokens, about ln V before training
    next_token: Tensor  # mean next-token cross-entropy of the causal mode
    draft: Tensor  # mean cross-entropy of the corrupted tokens for the draft head, given the token before
    scored: int = 0  # how many corrupted tokens ``cross_entropy`` is the mean of
    drafted: int = 0  # how many ``draft`` is the mean of


def training_loss(
    model: Transformer,
    process: Process,
    batch: Batch,
    generator: torch.Generator,
    block_length: int,
    training: TrainingConfig,
) -> Losses:
    """The joint loss of one batch: (1 - w) * diffusion loss + w * next-token cross-entropy.

    Sums run over every position (after the end mark comes the end mark, which is how the model learns where a text
    ends); both are divided by the number of real tokens. The network is the one that sampling uses, so the two cannot
    drift apart.

    Args:
        model: The network.
        process: The corruption.
        batch: Clean texts and prompts.
        generator: Noise and dropped prompts of this step.
        block_length: Positions denoised together in this step.
        training: Weights, mask rates, prompt dropout.
    """
    t = sample_training_times(batch, block_length, process, training, generator)
    rng, device, (rows, length) = BatchNoise(generator, batch.share), batch.x0.device, batch.x0.shape
    dropped = rng.uniform(rows, device=device) < training.prompt_dropout
    condition = model.encode(batch.prompt, batch.prompt_mask).drop(dropped)
    noise = t
    if process.fixed_count:
        noise, t = fixed_count_mask(t, block_length, rng)
        if training.complementary:
            noise, t = complementary_masks(noise, t)
    x_t = torch.cat([process.corrupt(batch.x0, canvas, rng) for canvas in noise.split(length, 1)], 1)
    estimates = process.self_conditioned and training.next_token_weight < 1
    if estimates and float(torch.rand((), generator=generator)) < SELF_COND_PROB:
        x_t = with_estimate(model, process, batch, condition, x_t, t, block_length)
    bell_shaped = has_bell_shaped_rates(batch, block_length, process, training)
    weights = short_block_weights(t) if bell_shaped else None
    return losses_at(
        model, process, batch, condition, x_t, t, block_length, training.next_token_weight, weights=weights
    )


@torch.no_grad()
def with_estimate(
    model: Transformer,
    process: Process,
    batch: Batch,
    condition: Condition,
    x_t: State,
    t: Tensor,
    block_length: int,
) -> State:
    """``x_t [B, N, 2E]`` with the model's own estimate of the clean embeddings, which sampling has after one step."""
    logits = model.head(canvas_states(model, batch, condition, x_t, t, block_length))
    return torch.where(t[..., None] > 0, process.with_self_conditioning(logits, x_t, t), x_t)


def canvas_states(
    model: Transformer, batch: Batch, condition: Condition, x_t: State, t: Tensor, block_length: int
) -> Tensor:
    """Hidden states ``[B, C N, D]`` of canvases where those of the text are not needed."""
    if block_length >= batch.x0.shape[1] == x_t.shape[1]:
        return model.canvas_pass(x_t, t, condition)  # one block sees nothing of the clean text
    return model.joint_pass(batch.x0, x_t, t, condition, block_length)[1]


def losses_at(
    model: Transformer,
    process: Process,
    batch: Batch,
    condition: Condition,
    x_t: State,
    t: Tensor,
    block_length: int,
    next_token_weight: float,
    evaluating: bool = False,
    weights: Tensor | None = None,
) -> Losses:
    """The losses of a given corruption.

    Args:
        model: The network.
        process: The corruption.
        batch: Clean texts and prompts.
        condition: The encoded prompts.
        x_t: [B, C N] canvases of each text, one after the other; the loss is their mean.
        t: [B, C N] their times.
        block_length: Positions denoised together.
        next_token_weight: w in (1 - w) * diffusion loss + w * next-token cross-entropy.
        evaluating: The canvas loss is the bound even where training minimizes something easier, or the plain
            cross-entropy where there is no bound.
        weights: [B, C N] what the cross-entropy of a corrupted token counts in training, in place of the process's
            weight.
    """
    assert weights is None or not evaluating, "an evaluation has the weights of the bound"
    zero, length = model.token_embedding.new_zeros(()), batch.x0.shape[1]
    next_token, canvas, cross_entropy, draft = zero, zero, zero, zero
    text_hidden, canvas_hidden = None, None
    if next_token_weight == 1:
        text_hidden, _ = model.causal_pass(batch.x0, condition)
    elif next_token_weight == 0:
        canvas_hidden = canvas_states(model, batch, condition, x_t, t, block_length)
    else:
        text_hidden, canvas_hidden = model.joint_pass(batch.x0, x_t, t, condition, block_length)
    tokens = max(1, batch.tokens)
    scored_count = drafted_count = 0
    if text_hidden is not None:
        next_token = next_token_loss(model, batch, text_hidden) / tokens
    if canvas_hidden is not None:
        canvases = t.shape[1] // length
        x0 = batch.x0.repeat(1, canvases)
        unknown = process.loss_mask(x_t, t)
        scored = flat_indices(unknown)
        scored_count = len(scored)
        # Whole rows are selected: for the gradient that takes half of the time of indexing.
        hidden = canvas_hidden.flatten(0, 1).index_select(0, scored)
        selected = (x0.flatten()[scored], x_t.flatten(0, 1)[scored], t.flatten()[scored])
        factors = process.weight(*selected[1:]) if weights is None else weights.flatten()[scored]
        total, losses = canvas_losses(model, process, hidden, *selected, factors, evaluating)
        canvas = total / (canvases * tokens)
        cross_entropy = losses.mean() if losses.numel() else zero
        if not evaluating:
            draft, drafted_count = draft_loss(
                model, canvas_hidden, batch.x0, unknown, block_length, batch.share
            )
    total = (
        (1 - next_token_weight) * canvas
        + next_token_weight * next_token
        + draft * draft_weight(batch, drafted_count)
    )
    canvas, cross_entropy, next_token, draft = (
        part.detach() for part in (canvas, cross_entropy, next_token, draft)
    )
    return Losses(total, canvas, cross_entropy, next_token, draft, scored_count, drafted_count)


def draft_weight(batch: Batch, drafted: int) -> float:
    """What the draft head's mean loss over ``drafted`` tokens counts in the total of a part of a batch.

    Only when all parts are corrupted does anybody know how many tokens they draft together; the step then divides the
    head's gradient by that number in place of this one.
    """
    return drafted / max(1, batch.tokens) if batch.share.size else 1.0


def next_token_loss(model: Transformer, batch: Batch, hidden: Tensor) -> Tensor:
    """Summed next-token cross-entropy of text states ``hidden [B, N, D]`` over real tokens, nats."""
    length = batch.x0.shape[1]
    real = flat_indices(torch.arange(length, device=batch.x0.device) < (batch.lengths - 1)[:, None])
    targets = batch.x0.flatten()[real + 1]
    weights = torch.ones_like(targets, dtype=torch.float32)
    return model.cross_entropy(hidden.flatten(0, 1).index_select(0, real), targets, weights)[0]


def flat_indices(where: Tensor) -> Tensor:
    """The places ``[M]``, in rows one after the other, at which ``where [B, N]`` (bool) is True."""
    return where.flatten().nonzero().squeeze(1)


def draft_loss(
    model: Transformer, hidden: Tensor, x0: Tensor, unknown: Tensor, block_length: int, share: Share = WHOLE
) -> tuple[Tensor, int]:
    """The draft head's loss, a scalar, and the number of tokens that it is the mean of.

    Args:
        model: The network.
        hidden: [B, C N, D] states of C canvases of each text.
        x0: [B, N] clean ids.
        unknown: [B, C N] bool. Of a row every DRAFT_LOSS_STRIDE-th of these positions counts, and every DRAFT_STRIDE-th
            of those in a draft, others in each row.
        block_length: Positions denoised together; the head is told nothing of a block before.
        share: Which rows of the step's batch these are.
    """
    rows = torch.tensor(share.rows or range(len(unknown)), device=unknown.device)[:, None]
    length, drafts = x0.shape[1], torch.zeros_like(unknown)
    if block_length < (share.width or length):  # a text that is one block is no draft
        drafts = unknown & in_drafts(unknown, length, block_length)

    def every(stride: int, where: Tensor) -> Tensor:
        return where & ((where.cumsum(1) - 1 + rows) % stride == 0)

    places = flat_indices(every(DRAFT_LOSS_STRIDE, unknown & ~drafts) | every(DRAFT_STRIDE, drafts))
    ids = x0.repeat(1, unknown.shape[1] // length).flatten()
    has_second = places % length % block_length > 1
    previous = torch.stack([ids[places - 1], torch.where(has_second, ids[places - 2], NO_TOKEN)], dim=1)
    return model.draft_loss(hidden.flatten(0, 1)[places], previous, ids[places]), len(places)


def in_drafts(unknown: Tensor, length: int, block_length: int) -> Tensor:
    """Which positions ``[B, C N]`` of C canvases of N ids are in a block that knows its first token and no other."""
    canvases = F.pad(unknown.unflatten(1, (-1, length)), (0, -length % block_length), value=True)
    blocks = canvases.unflatten(2, (-1, block_length))
    drafts: Tensor = (blocks[..., 1:].all(-1) & ~blocks[..., 0])[..., None].expand_as(blocks)
    return drafts.flatten(2)[..., :length].flatten(1)


def canvas_losses(
    model: Transformer,
    process: Process,
    hidden: Tensor,
    x0: Tensor,
    x_t: State,
    t: Tensor,
    weights: Tensor,
    evaluating: bool,
) -> tuple[Tensor, Tensor]:
    """The diffusion loss summed over M scored positions, and their cross-entropies ``[M]`` without a gradient."""
    if process.log_likelihood(x_t[:1], t[:1]) is None:
        return model.cross_entropy(hidden, x0, weights)

    def losses_of(
        hidden: Tensor, x0: Tensor, x_t: State, t: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = model.head(pad_rows(hidden))[: len(x0)].float()
        likelihood = process.log_likelihood(x_t, t)
        assert likelihood is not None
        cross_entropy = F.cross_entropy(logits + likelihood, x0, reduction="none")
        if evaluating:
            bound = process.loss(logits, x0, x_t, t) if process.is_elbo else cross_entropy
            return bound.sum(), cross_entropy
        return (weights * cross_entropy).sum(), cross_entropy.detach()

    total, losses = hidden.new_zeros((), dtype=torch.float32), []
    for begin in range(0, len(x0), CHUNK_POSITIONS):
        rows = slice(begin, begin + CHUNK_POSITIONS)
        chunk = (hidden[rows], x0[rows], x_t[rows], t[rows], weights[rows])
        part, cross_entropy = checkpoint(losses_of, *chunk, use_reentrant=False)
        total = total + part
        losses.append(cross_entropy)
    return total, torch.cat(losses) if losses else total.new_zeros(0)
