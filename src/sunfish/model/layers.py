"""The transformer's parts: rotary positions, normalised attention, the gated feed-forward, the layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import attention, gated, normalise, queries_keys_values
from sunfish.model.side_by_side import Parts, Visible


def rotary_angles(positions: int, head_width: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """cos, cos and -sin, sin ``[positions, head_width]`` of rotary position embedding (Su et al. 2021, eq. 15)."""
    frequency = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


# A head; for wider ones a GPU has no fast kernel, and the pointer's is as wide as the network.
WIDEST_FUSED = 256


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Visible) -> Tensor:
    """softmax(q k^T / sqrt(D/H)) v: ``query [B, H, N, D/H]``, ``key`` and ``value [B, H, M, D/H]``; ``[B, N, D]``.

    ``mask`` is bool and broadcasts to ``[B, H, N, M]``, True = visible; tiles are for a compiled kernel on a GPU. In
    bfloat16 training on a CPU products written out take a third to two thirds of the fused kernel's time
    (benchmarks/attention_cpu.py); everywhere else the fused kernel is better.
    """
    if isinstance(mask, BlockMask):
        return merge_heads(flex_attention(query, key, value, block_mask=mask))
    wide = query.shape[-1] > WIDEST_FUSED
    slow = wide or (query.device.type == "cpu" and query.dtype == torch.bfloat16)
    written = slow and torch.is_grad_enabled()
    if isinstance(mask, tuple):
        in_parts = attention if written else _fused
        if torch.compiler.is_compiling():  # the parts' bounds would make a program for each length of a text
            in_parts = torch.compiler.disable(in_parts)
        return in_parts(query, key, value, mask)
    if written:
        whole = slice(0, query.shape[2]), (slice(0, key.shape[2]),), mask
        return attention(query, key, value, (whole,))
    return merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))


def _fused(query: Tensor, key: Tensor, value: Tensor, parts: Parts) -> Tensor:
    """:func:`sunfish.model.kernels.autograd.attention` by the fused kernel."""
    cuts = sorted(
        {0, key.shape[2], *(end for _, seen, _ in parts for s in seen for end in (s.start, s.stop))}
    )
    # Split once: the gradient of each slice by itself would be as large as the whole.
    queries = query.split([rows.stop - rows.start for rows, _, _ in parts], dim=2)
    keys, values = (x.split([end - begin for begin, end in pairwise(cuts)], dim=2) for x in (key, value))

    def at(pieces: Sequence[Tensor], seen: tuple[slice, ...]) -> Tensor:
        found = [piece for s in seen for piece in pieces[cuts.index(s.start) : cuts.index(s.stop)]]
        return found[0] if len(found) == 1 else torch.cat(found, dim=2)

    found = [
        F.scaled_dot_product_attention(asked, at(keys, seen), at(values, seen), attn_mask=mask)
        for asked, (_, seen, mask) in zip(queries, parts, strict=True)
    ]
    return merge_heads(torch.cat(found, dim=2))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """``[B, N, D]`` to ``[B, H, N, D/H]``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """``[..., H, N, D/H]`` to ``[..., N, D]``."""
    return x.transpose(-3, -2).flatten(-2)


class SelfAttention(nn.Module):
    """Multi-head attention over remembered keys and its own, with rotary positions and normalised q and k.

    Query-key normalisation (Henry et al. 2020; Dehghani et al. 2023) bounds the logits, so training stays
    stable at high learning rates and in bfloat16; a learned gain for each head sets how sharp it may become.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.n_head
        self.project = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.output = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.gain = nn.Parameter(torch.ones(config.n_head, 1, 1))

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        past: Tensor | None = None,
        mask: Visible = None,
        shown: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``x [B, N, D]``; ``past [2, B, H, M, D/H]``; ``mask`` broadcasts to ``[B, H, N, M + N]``, True = visible.

        ``shown [B, N, D]`` is what a position shows to those that attend to it, beside its own ``x``.
        Returns the output ``[B, N, D]`` and this call's keys and values, each ``[B, H, N, D/H]``.
        """
        projected = self.project(x)
        if shown is not None:
            width = x.shape[-1]
            projected = projected + F.pad(F.linear(shown, self.project.weight[width:]), (width, 0))
        query, key, value = queries_keys_values(projected, self.gain, angles)
        own = (key, value)
        if past is not None:
            before, earlier = past.to(key.dtype).unbind(0)
            key, value = torch.cat([before, key], dim=2), torch.cat([earlier, value], dim=2)
        return self.output(attend(query, key, value, mask)), own


class CrossAttention(nn.Module):
    """Attention to the encoded prompt, whose keys and values come ready-made with the condition.

    Its input need not be normalised: it makes nothing but queries, and these are.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.n_head
        self.query = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.output = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.gain = nn.Parameter(torch.ones(config.n_head, 1, 1))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """``x [B, N, D]``, ``keys`` and ``values [B, H, 1+P, D/H]``, ``mask [B, 1, 1, 1+P]`` bool -> ``[B, N, D]``."""
        query = normalise(split_heads(self.query(x), self.heads)) * self.gain.to(x.dtype)
        query = query.to(keys.dtype)
        return self.output(attend(query, keys, values, mask))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.n_embd, 2 * config.n_hidden, bias=False)
        self.down = nn.Linear(config.n_hidden, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, N, D]`` to ``[B, N, D]``."""
        return self.down(gated(self.gate_up(x)))


class Layer(nn.Module):
    """Pre-norm self-attention, cross-attention to the prompt (if the layer has it), feed-forward."""

    def __init__(self, config: ModelConfig, cross: bool) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config)
        self.cross_attention = CrossAttention(config) if cross else None
        self.feed_forward = FeedForward(config)
        self.dropout = 0.0  # in training; see Trunk.regularise

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor],
        prompt: tuple[Tensor, Tensor, Tensor] | None = None,
        past: Tensor | None = None,
        mask: Visible = None,
        shown: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``x [B, N, D]`` -> the same shape, and the layer's keys and values, each ``[B, H, N, D/H]``."""
        y, own = self.self_attention(normalise(x), angles, past, mask, shown)
        x = x + self._dropped(y)
        if self.cross_attention is not None and prompt is not None:
            x = x + self._dropped(self.cross_attention(x, *prompt))
        return x + self._dropped(self.feed_forward(normalise(x))), own

    def _dropped(self, y: Tensor) -> Tensor:
        return F.dropout(y, self.dropout) if self.training and self.dropout else y
