"""Drafts whose tokens follow one another: what a canvas says of a position, told the token in front of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import gated, normalise
from sunfish.model.kernels.cross_entropy import linear_cross_entropy

WIDEST = 40  # hidden units; five times as many draft 2 to 4 % more tokens a round (docs/log.md)


class DraftHead(nn.Module):
    """h + down(swiglu(up([h, token before]))): a hidden state of the canvas, told one more token.

    All positions of a canvas are predicted at once, each as if the others were unknown; tokens drawn from that
    seldom fit together, and verified writing throws them away. This part is cheap enough to run again when they are
    known, so that each drafted token knows the likeliest one before it: the sequentially dependent heads of Hydra
    (Ankner et al. 2024, arXiv:2402.05109, section 3), one for all positions, on a canvas of diffusion.
    It learns beside the network and never pulls at it: hidden states, embeddings and output gain are given as constants.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = min(config.n_embd // 2, WIDEST)
        self.up = nn.Linear(2 * config.n_embd, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, config.n_embd, bias=False)

    def forward(self, hidden: Tensor, before: Tensor) -> Tensor:
        """States ``[..., D]`` for the output layer, of the states ``hidden`` and the embeddings ``before``, all alike."""
        return self.told(*self.begun(hidden), before)

    def begun(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What needs no token and is done once: ``hidden`` normalised, and its part of ``up``."""
        hidden = normalise(hidden)
        return hidden, F.linear(hidden, self.up.weight[:, : hidden.shape[-1]])

    def told(self, hidden: Tensor, begun: Tensor, before: Tensor) -> Tensor:
        """The rest, for what :meth:`begun` returned and the embeddings ``before [..., D]``."""
        width = hidden.shape[-1]
        before = normalise(before).to(hidden.dtype)
        return hidden + self.down(gated(begun + F.linear(before, self.up.weight[:, width:])))

    def loss(self, hidden: Tensor, before: Tensor, targets: Tensor, table: Tensor, gain: Tensor) -> Tensor:
        """Mean cross-entropy of ``targets [M]`` in nats; ``table [V, D]`` and ``gain [D]`` are the output layer's."""
        told = normalise(self(hidden.detach(), before.detach()))
        share = torch.full(targets.shape, 1 / max(1, len(targets)), device=targets.device)
        return linear_cross_entropy(told * gain.detach().to(told.dtype), table.detach(), targets, share)[0]
