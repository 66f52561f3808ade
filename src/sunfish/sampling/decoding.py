"""The loop that a sampler names: speculative, corrected, or block diffusion."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.denoiser import Denoiser
from sunfish.rng import RowGenerators
from sunfish.sampling.block_diffusion import Snapshot, block_diffusion
from sunfish.sampling.corrected import corrected_decoding
from sunfish.sampling.speculative import speculative_decoding
from sunfish.types import Condition, Process


def decode(
    denoiser: Denoiser,
    process: Process,
    condition: Condition,
    prefix: Tensor,
    length: int,
    rng: RowGenerators,
    config: GenerationConfig,
    end: int,
) -> Iterator[Snapshot]:
    """Continue a prefix by ``config.sampler``.

    Args:
        denoiser: The network; guided or not.
        process: Its corruption.
        condition: The encoded prompts.
        prefix: [B, n] clean ids.
        length: How many positions a row has at the most.
        rng: One generator a row.
        config: The sampler and its settings.
        end: The id that ends a text.

    Returns:
        The snapshots of the loop.
    """
    if config.has_policy:
        ids = F.pad(prefix, (0, length - prefix.shape[1]), value=end)
        free = torch.arange(length, device=prefix.device).expand_as(ids) >= prefix.shape[1]
        return block_diffusion(denoiser, process, condition, ids, free, rng, config, end)
    loop = speculative_decoding if config.is_verified else corrected_decoding
    return loop(denoiser, process, condition, prefix, length, rng, config, end)
