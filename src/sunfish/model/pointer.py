"""Copying: the network's last part points at tokens that the prompt or the text already has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sunfish.config import ModelConfig
from sunfish.model.attention import attend, merge_heads, normalise, split_heads

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
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``x [B, N, D]`` states after the last layer, ``tokens [B, N, D]`` the embeddings they began with.

        ``noise [B, N]`` bool is True where there is no token yet, so that nothing is copied from there; the rest is
        as in a layer. Returns the states with what they copy, and this call's keys and values ``[2, B, H, N, D/H]``.
        """
        x = normalise(x)
        tokens = normalise(tokens).to(x.dtype)
        own = torch.stack([split_heads(part, self.heads) for part in (tokens + self.key(x), tokens)])
        prompt_keys, prompt_values, shown = prompt
        parts = [torch.stack([prompt_keys, prompt_values]), *([] if past is None else [past]), own]
        keys, values = merge_heads(torch.cat([part.to(x.dtype) for part in parts], dim=3)).unsqueeze(2)
        batch, length, remembered = *x.shape[:2], keys.shape[2] - shown.shape[1] - x.shape[1]
        text = torch.cat([noise.new_ones(batch, remembered), ~noise], dim=1)[:, None, None, :]
        text = text.expand(batch, 1, length, -1) if mask is None else text & mask
        visible = torch.cat([shown[:, None, None, :].expand(batch, 1, length, -1), text], dim=3)
        copied = attend((x * self.query_gain.to(x.dtype))[:, None], keys, values, visible)[:, 0]
        return x + copied * self.gain.to(x.dtype), own
