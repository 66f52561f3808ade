"""What stands beside a token: each position begins with a part of the tokens before and behind it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.config import ModelConfig
from sunfish.types import Past, Start

PART = 0.5  # how much of either neighbour a position begins with


class Neighbours(nn.Module):
    """gain_before * token before + gain_behind * token behind, with a gain for the components of each head.

    Attention has to learn where "the token before" is before it can use it; most of what a small network learns
    in its first minutes is just that. Here it is there from the first step on: the smeared keys of Olsson et al. 2022
    (arXiv:2209.11895), moved to the input, and, on the canvas, to both sides (the short convolutions that Allen-Zhu
    2025 calls canon layers). Reading sees the token before only.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.before_gain = nn.Parameter(torch.empty(config.n_head, 1))
        self.behind_gain = nn.Parameter(torch.empty(config.n_head, 1))

    @torch.no_grad()
    def initialise(self) -> None:
        """A half of each."""
        self.before_gain.fill_(PART)
        self.behind_gain.fill_(PART)

    def forward(self, tokens: Tensor, edge: Tensor, both_sides: bool) -> Tensor:
        """For stretches of ``tokens [..., W, D]``, the token before each stretch ``edge [..., D]``: ``[..., W, D]``.

        ``both_sides``: the token behind as well, and nothing for the last one. ``edge`` is 0 where there is no token.
        """
        before = torch.cat([edge[..., None, :], tokens[..., :-1, :]], dim=-2)
        before = before * self._of(self.before_gain, tokens)
        if not both_sides or tokens.shape[-2] == 1:
            return before
        behind = F.pad(tokens[..., 1:, :], (0, 0, 0, 1))
        return torch.addcmul(before, behind, self._of(self.behind_gain, tokens))

    @staticmethod
    def _of(gain: Tensor, tokens: Tensor) -> Tensor:
        """The gains of all components ``[D]``."""
        return gain.expand(-1, tokens.shape[-1] // len(gain)).flatten().to(tokens.dtype)

    def in_blocks(self, tokens: Tensor, clean: Tensor, start: int, block_length: int) -> Tensor:
        """The same for a canvas ``[B, N, D]`` of blocks from position ``start`` of the text ``clean [B, M, D]`` on.

        The token before a block is the text's; 0 where the text does not go so far.
        """
        rows, length, width = tokens.shape
        blocks = -(-length // block_length)
        edges = F.pad(clean, (0, 0, 1, 0))[:, start::block_length][:, :blocks]
        edges = F.pad(edges, (0, 0, 0, blocks - edges.shape[1]))
        padded = F.pad(tokens, (0, 0, 0, blocks * block_length - length))
        found = self(padded.view(rows, blocks, block_length, width), edges, both_sides=True)
        return found.flatten(1, 2)[:, :length]


def edge_of(past: Past | None, start: Start, like: Tensor) -> Tensor:
    """The token ``[B, D]`` before position ``start``, as the pointer remembers it; 0 at the beginning of a text.

    ``like [B, N, D]`` has the rows, the type and the width.
    """
    if past is None or (isinstance(start, int) and start == 0):
        return like.new_zeros(like.shape[0], like.shape[-1])
    known = past[-1, 1]  # [B, H, M, D/H]
    if isinstance(start, int):
        return known[:, :, start - 1].flatten(1).to(like.dtype)
    found = known[torch.arange(len(start), device=start.device), :, (start - 1).clamp(min=0)]
    return (found * (start > 0)[:, None, None]).flatten(1).to(like.dtype)
