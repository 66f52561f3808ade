"""The draft head: what a canvas predicts at a position, given the two tokens before it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.casts import cast_like
from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import rms_norm, swiglu
from sunfish.model.kernels.cross_entropy import linear_cross_entropy, pad_rows

MAX_DRAFT_HIDDEN = 96  # docs/experiments/2026-11-draft-masks.md
NO_TOKEN = -1  # in the place of an id that the draft head is not given


class DraftState(NamedTuple):
    """What the draft head computes once for a canvas, before it is given any token."""

    hidden: Tensor  # [..., D] normalized states of the canvas
    projected: Tensor | None  # [..., 2 * hidden units] their part of up_proj; None: there is no draft head

    def first(self, rows: int) -> DraftState:
        """The state of the first rows."""
        return DraftState(self.hidden[:rows], None if self.projected is None else self.projected[:rows])


class DraftHead(nn.Module):
    """h + down_proj(swiglu(up_proj([h, previous token, the one before it]))): a canvas state, given two more tokens.

    A canvas predicts all positions at once, each as if the others were unknown; tokens drawn from that seldom fit
    together, and speculative decoding rejects them. This part is cheap enough to run again when they are known, so that
    each drafted token knows the two drawn before it: the sequentially dependent heads of Hydra (Ankner et al. 2024,
    arXiv:2402.05109, section 3), one head for all positions, on a diffusion canvas. A draft begins after a token that the
    canvas knows, so its first token has one before it and no second. The head is trained with the network and never
    changes it: hidden states, embeddings and output scale are constants to it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = min(config.n_embd * 3 // 8, MAX_DRAFT_HIDDEN)
        self.up_proj = nn.Linear(3 * config.n_embd, 2 * hidden, bias=False)
        self.down_proj = nn.Linear(hidden, config.n_embd, bias=False)

    def start(self, hidden: Tensor) -> DraftState:
        """What needs no token, of canvas states ``hidden [..., D]``."""
        hidden = rms_norm(hidden)
        return DraftState(hidden, F.linear(hidden, self.up_proj.weight[:, : self.down_proj.out_features]))

    def refine(self, state: DraftState, previous: Tensor) -> Tensor:
        """States ``[..., W, D]`` for the output layer of a draft of W tokens.

        Args:
            state: Of its canvas, from the position after the known token on.
            previous: [..., W, D] the embedding of the token before each position.
        """
        previous = cast_like(rms_norm(previous), state.hidden)
        second = F.pad(previous[..., :-1, :], (0, 0, 1, 0))
        return self._finish(state, torch.cat([previous, second], dim=-1))

    def _finish(self, state: DraftState, told: Tensor) -> Tensor:
        """The states, given the normalized embeddings ``[..., 2D]`` before each: of the token there, and of the one
        before that or zeros.
        """
        assert state.projected is not None
        of_tokens = self.up_proj.weight[:, self.down_proj.out_features :]
        middle = swiglu(state.projected + F.linear(told, of_tokens))
        refined: Tensor = state.hidden + self.down_proj(middle)
        return refined

    def loss(
        self, hidden: Tensor, previous: Tensor, targets: Tensor, embeddings: Tensor, output_scale: Tensor
    ) -> Tensor:
        """Mean cross-entropy of single positions, in nats.

        Args:
            hidden: [M, D] canvas states.
            previous: [M, 2] ids of the token before each, and of the one before that or NO_TOKEN.
            targets: [M] ids.
            embeddings: [V + 1, D] of all ids and the mask.
            output_scale: [D] of the output layer.
        """
        embeddings = embeddings.detach()
        share = torch.full(targets.shape, 1 / max(1, len(targets)), device=targets.device)
        hidden, previous, targets, share = map(
            pad_rows, (hidden.detach(), previous, targets, share)
        )  # rows of weight 0
        state = self.start(hidden)
        told = cast_like(rms_norm(embeddings[previous.clamp(min=0)]), state.hidden)
        told = told * (previous != NO_TOKEN)[..., None]
        refined = rms_norm(self._finish(state, told.flatten(1)))
        scaled = refined * cast_like(output_scale.detach(), refined)
        return linear_cross_entropy(scaled, embeddings[:-1], targets, share)[0]
