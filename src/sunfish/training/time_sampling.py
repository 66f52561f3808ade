"""Where a training step picks its noise levels: times for each block, and exactly how many tokens to mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.config import Config, TrainingConfig
from sunfish.rng import WHOLE, RowGenerators, Share
from sunfish.types import Batch, Process
from sunfish.utils import UsageError

# Of blocks shorter than the text, the share of those in which only the first token is known, as where ``verified`` drafts
# (docs/experiments/2026-11-draft-masks.md).
DRAFT_SHARE = 0.4
# What a masked token of such a block counts, in place of 1 / rate. Rates have the mean 1/2, so that a token of the text
# still counts about 1 in the mean (docs/experiments/2026-11-bell-shaped-mask-rates.md).
SHORT_BLOCK_WEIGHT = 2.0


def stratified_times(
    rows: int, columns: int, generator: torch.Generator | None, share: Share = WHOLE
) -> Tensor:
    """Uniform times in (0, 1], one in each of rows * columns equal strata, shuffled.

    The low-discrepancy sampler of Variational Diffusion Models (Kingma et al. 2021, appendix I.1): each time is still
    uniform, and the mean over the batch has far less variance than with independent draws.

    A process computes the rows of its share only. Rows and columns are shuffled, then each column is rotated by a random
    number of rows. So the times of a column are stratified, too, and others are independent up to 1 / rows.

    Args:
        rows: Of the whole batch.
        columns: Times of a row.
        generator: Of the step.
        share: Which rows of the batch are wanted.

    Returns:
        ``[B, columns]``, the times of these rows.
    """
    offset = torch.rand((), generator=generator, dtype=torch.float64).item()
    row = share.of(torch.randperm(rows, generator=generator))[:, None]
    coarse = (row + torch.randint(rows, (columns,), generator=generator)) % rows
    fine = (torch.randperm(columns, generator=generator).double() + (1 - offset)) / columns
    return ((coarse + fine) / rows).float()


def sample_block_times(
    batch: Batch, block_length: int, low: float, high: float, generator: torch.Generator | None
) -> Tensor:
    """Times ``[B, N]`` for training: one for each block, stratified over the whole batch, in (low, high].

    The start mark at position 0 is known, so its time is 0.
    """
    length, blocks = batch.x0.shape[1], -(-batch.width // min(block_length, batch.width))
    strata = stratified_times(batch.rows, blocks, generator, batch.share)
    block_length = min(block_length, length)
    times = low + (high - low) * strata[:, : -(-length // block_length)]
    t = times.repeat_interleave(block_length, dim=1)[:, :length].clone()
    t[:, 0] = 0.0
    return t.to(batch.x0.device)


def sample_training_times(
    batch: Batch,
    block_length: int,
    process: Process,
    training: TrainingConfig,
    generator: torch.Generator | None,
) -> Tensor:
    """Times ``[B, N]`` of a training step, one for each block but for drafts.

    Between the mask rates of ``training``, since masks teach most where some context is left
    (docs/experiments/2026-11-objective-and-number-format.md); up to 1 for a time-conditioned network, which must know
    all times. Blocks shorter than the text have bell-shaped rates if masked, and some of them are drafts.
    """
    if has_bell_shaped_rates(batch, block_length, process, training):
        t = bell_shaped(sample_block_times(batch, block_length, 0.0, 1.0, generator))
    else:
        high = 1.0 if process.time_conditioned else training.mask_rate_max
        t = sample_block_times(batch, block_length, training.mask_rate_min, high, generator)
    if not has_drafts(batch, block_length, training):
        return t
    drafts = sample_block_times(batch, block_length, 0.0, 1.0, generator)
    return torch.where(drafts <= DRAFT_SHARE, draft_times(t, block_length), t)


def has_drafts(batch: Batch, block_length: int, training: TrainingConfig) -> bool:
    """Whether some blocks are drafts: where they are shorter than the text and longer than a token.

    Never where a second canvas asks for what the first shows: its rates are the rest of the first one's.
    """
    return not training.complementary and 1 < block_length < batch.width


def has_bell_shaped_rates(
    batch: Batch, block_length: int, process: Process, training: TrainingConfig
) -> bool:
    """Whether a step draws bell-shaped mask rates and weighs tokens by :func:`short_block_weights`."""
    return process.fixed_count and has_drafts(batch, block_length, training)


def bell_shaped(times: Tensor) -> Tensor:
    """Times of density 6 t (1 - t) on 0 to 1 from uniform ones: the inverse of t^2 (3 - 2 t). Known tokens stay at 0."""
    bell = 0.5 - torch.sin(torch.asin(1 - 2 * times.double()) / 3)
    return torch.where(times > 0, bell.clamp(min=1e-9), 0.0).to(times.dtype)


def short_block_weights(t: Tensor) -> Tensor:
    """What the cross-entropy of a masked token counts at bell-shaped rates: the same at all of them (arXiv:2605.13026).

    Where all unknown tokens of a block are masked, as in a draft, each counts 1, as in the bound.

    Args:
        t: ``[B, N]`` shares of :func:`fixed_count_mask`.

    Returns:
        ``[B, N]``
    """
    return torch.where(t < 1, SHORT_BLOCK_WEIGHT, 1.0)


def draft_times(t: Tensor, block_length: int) -> Tensor:
    """Times like ``t [B, N]`` where every block is a draft: its first token is known, and the others are pure noise."""
    place = torch.arange(t.shape[1], device=t.device) % block_length
    return (place > 0).to(t.dtype).expand_as(t)


def check_noise_settings(config: Config, process: Process) -> None:
    """Refuse noise settings that have no effect with this process.

    Raises:
        UsageError: Names the setting, its value and the process.
    """
    training, name = config.training, config.process.process
    if process.time_conditioned and training.mask_rate_max != TrainingConfig.mask_rate_max:
        raise UsageError(
            f"mask_rate_max is {training.mask_rate_max}, which has no effect where process is {name}, which trains up "
            "to a noise rate of 1; leave it out"
        )
    if training.complementary and not process.fixed_count:
        raise UsageError(
            f"complementary is True, but process is {name}, whose noise has no complement; leave complementary out"
        )


def fixed_count_mask(t: Tensor, block_length: int, rng: RowGenerators) -> tuple[Tensor, Tensor]:
    """Mask exactly the drawn share of each block, not each token with that chance.

    k = ceil(t n) of a block's n unknown positions are masked, at random. Uniform t makes k uniform in 1 .. n, and n / k
    times the masked cross-entropy is the same bound in the mean (LLaDA, Nie et al. 2025, eq. 6), with less variance.

    Args:
        t: [B, N] times of :func:`sample_block_times`.
        block_length: Positions of a block.
        rng: Random numbers of these rows.

    Returns:
        Which positions to mask, as times 1 and 0, and the share k / n of each block; [B, N] both.
    """
    rows, length = t.shape
    block_length = min(block_length, length)
    unknown = t > 0
    blocks = -(-length // block_length)
    padding = blocks * block_length - length
    score = rng.uniform(rows, length).float().to(t.device).masked_fill(~unknown, 2.0)
    score = F.pad(score, (0, padding), value=2.0).view(rows, blocks, block_length)
    free = (score < 2).sum(-1, keepdim=True)
    time = F.pad(t, (0, padding)).view(rows, blocks, block_length).amax(-1, keepdim=True)
    count = torch.ceil(time * free - 1e-6)
    first = (torch.arange(block_length, device=t.device) < count).to(t.dtype)
    masked = torch.zeros_like(first).scatter_(-1, score.argsort(-1), first).view(rows, -1)[:, :length]
    masked_share = (count / free.clamp(min=1)).expand(-1, -1, block_length).reshape(rows, -1)[:, :length]
    return masked, torch.where(unknown, masked_share, torch.zeros_like(t))


def complementary_masks(noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """What :func:`fixed_count_mask` returned, then a second canvas that masks just the others, ``[B, 2 N]`` both.

    Each token of a text is then asked for once in a step, and the second canvas's share is the rest of the first's.
    """
    unknown = t > 0
    complement = unknown & (noise == 0)
    share = torch.where(unknown, 1 - t, torch.zeros_like(t))
    return torch.cat([noise, complement.to(noise.dtype)], dim=1), torch.cat([t, share], dim=1)
