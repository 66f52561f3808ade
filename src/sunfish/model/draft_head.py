"""The draft head: what a canvas predicts at a position, given the token before it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import rms_norm, swiglu
from sunfish.model.kernels.cross_entropy import linear_cross_entropy, pad_rows

# Hidden units; five times as many draft 2-4% more tokens a round (docs/experiments/2026-11-draft-head.md).
MAX_DRAFT_HIDDEN = 40


class DraftState(NamedTuple):
    """What the draft head computes once for a canvas, before it is given any token."""

    hidden: Tensor  # [..., D] normalized states of the canvas
    projected: Tensor  # [..., 2 * hidden units] their part of up_proj


class DraftHead(nn.Module):
    """h + down_proj(swiglu(up_proj([h, previous token]))): a canvas state, given one more token.

    A canvas predicts all positions at once, each as if the others were unknown; tokens drawn from that seldom fit
    together, and speculative decoding rejects them. This part is cheap enough to run again when they are known, so that
    each drafted token knows the likeliest one before it: the sequentially dependent heads of Hydra (Ankner et al. 2024,
    arXiv:2402.05109, section 3), one head for all positions, on a diffusion canvas. It is trained with
    the network and never changes it: hidden states, embeddings and output scale are constants to it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = min(config.n_embd // 2, MAX_DRAFT_HIDDEN)
        self.up_proj = nn.Linear(2 * config.n_embd, 2 * hidden, bias=False)
        self.down_proj = nn.Linear(hidden, config.n_embd, bias=False)

    def forward(self, hidden: Tensor, previous: Tensor) -> Tensor:
        """States ``[..., D]`` for the output layer, of canvas states ``hidden`` and embeddings ``previous``."""
        return self.refine(self.start(hidden), previous)

    def start(self, hidden: Tensor) -> DraftState:
        """What needs no token, of canvas states ``hidden [..., D]``."""
        hidden = rms_norm(hidden)
        return DraftState(hidden, F.linear(hidden, self.up_proj.weight[:, : hidden.shape[-1]]))

    def refine(self, state: DraftState, previous: Tensor) -> Tensor:
        """States ``[..., D]`` for the output layer, given the embeddings ``previous [..., D]``."""
        hidden, projected = state
        previous = rms_norm(previous).to(hidden.dtype)
        update = swiglu(projected + F.linear(previous, self.up_proj.weight[:, hidden.shape[-1] :]))
        refined: Tensor = hidden + self.down_proj(update)
        return refined

    def loss(
        self, hidden: Tensor, previous: Tensor, targets: Tensor, table: Tensor, output_scale: Tensor
    ) -> Tensor:
        """Mean cross-entropy of ``targets [M]`` in nats; ``table [V, D]`` and ``output_scale [D]`` are the output's."""
        share = torch.full(targets.shape, 1 / max(1, len(targets)), device=targets.device)
        hidden, previous, targets, share = map(
            pad_rows, (hidden.detach(), previous.detach(), targets, share)
        )  # rows of weight 0
        refined = rms_norm(self(hidden, previous))
        scaled = refined * output_scale.detach().to(refined.dtype)
        return linear_cross_entropy(scaled, table.detach(), targets, share)[0]
