"""Copying: the network's last part points at tokens that the prompt or the text already has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import normalise
from sunfish.model.layers import attend, merge_heads, split_heads
from sunfish.model.side_by_side import Parts, Visible, behind

COPY = 0.3  # how much of what it points at a position takes over at the start


class Pointer(nn.Module):
    """x + gain * sum_j a_j token_j: each prediction moves towards the tokens that its position points at.

    ``a`` is one softmax over the prompt's tokens, the remembered text and the canvas. The query starts as the
    hidden state itself, which lives where the output embeddings live; so from the first step on a position that
    expects "some name" points at the names that are there already, and the tied output makes them likelier. This is
    the neural cache of Grave et al. 2017 (arXiv:1612.04426, eq. 3), here trained with the network and mixed in before
    the softmax. The key adds to the token what the network made of it, so that one of two names can be meant.
    Without the pointer, networks of these sizes learn to copy from the prompt, but in their hour nothing from the
    text: a hero whom the story named itself changed the name in every sentence (docs/log.md).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.n_head  # only how keys are stored, so that they fit in with those of the layers
        self.query_gain = nn.Parameter(torch.empty(config.n_embd))
        self.key = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.gain = nn.Parameter(torch.empty(config.n_embd))

    @torch.no_grad()
    def initialise(self) -> None:
        """Query: the hidden state. Key: the token alone."""
        self.query_gain.fill_(1.0)
        self.key.weight.zero_()
        self.gain.fill_(COPY)

    def forward(
        self,
        x: Tensor,
        tokens: Tensor,
        noise: Tensor,
        prompt: tuple[Tensor, Tensor, Tensor],
        past: Tensor | None = None,
        mask: Tensor | Parts | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``x [B, N, D]`` states after the last layer, ``tokens [B, N, D]`` the normalised embeddings they began with.

        ``noise [B, N]`` bool is True where there is no token yet, so that nothing is copied from there; the rest is
        as in a layer. Returns the states with what they copy, and this call's keys and values, each ``[B, H, N, D/H]``.
        """
        x = normalise(x)
        tokens = tokens.to(x.dtype)
        own = (tokens + self.key(x), tokens)
        prompt_keys, prompt_values, shown = prompt
        before = ((), ()) if past is None else tuple((part,) for part in past.unbind(0))
        keys, values = (
            torch.cat([*(merge_heads(part.to(x.dtype)) for part in (known, *earlier)), new], dim=1)[:, None]
            for known, earlier, new in zip((prompt_keys, prompt_values), before, own, strict=True)
        )
        batch, length, remembered = *x.shape[:2], keys.shape[2] - shown.shape[3] - x.shape[1]
        text = F.pad(~noise, (remembered, 0), value=True)
        if isinstance(mask, tuple):
            visible: Visible = behind(mask, shown, text)
        elif mask is None:
            visible = torch.cat([shown, text[:, None, None, :]], dim=3)
        else:
            visible = torch.cat([shown.expand(batch, 1, length, -1), text[:, None, None, :] & mask], dim=3)
        copied = attend((x * self.query_gain.to(x.dtype))[:, None], keys, values, visible)
        key, value = (split_heads(part, self.heads) for part in own)
        return torch.addcmul(x, copied, self.gain.to(x.dtype)), (key, value)
