"""The parts of the transformer: rotary positions, attention, SwiGLU, smear, the block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from sunfish.casts import cast_like
from sunfish.config import ModelConfig
from sunfish.model.kernels.autograd import qk_norm_rope, rms_norm, segmented_attention, swiglu
from sunfish.model.kv_cache import CachedRows, KeyValue
from sunfish.model.layout import AttentionMask, Layout, Segment, Segments

Rotary = tuple[Tensor, Tensor]  # cos and sin, [(B, 1,) N, D/H]
Prompt = tuple[Tensor, Tensor, Tensor]  # keys and values [B, H, 1+P, D/H], mask [B, 1, 1, 1+P]

# Wider heads have no fast kernel on a GPU; the copy head's is as wide as the network.
MAX_FUSED_HEAD_WIDTH = 256
SMEAR_INIT = 0.5  # share of either neighboring token that a position begins with


def rotary_cos_sin(positions: int, head_width: int, base: float = 10_000.0) -> Rotary:
    """cos, cos and -sin, sin ``[positions, head_width]`` of rotary embedding (Su et al. 2021, eq. 15)."""
    frequency = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask) -> Tensor:
    """softmax(q k^T / sqrt(D/H)) v.

    In bfloat16 training on a CPU, products written out take a third to two thirds of the fused kernel's time;
    everywhere else the fused kernel is better (docs/experiments/2026-11-attention-bfloat16-cpu.md).

    Args:
        query: [B, H, N, D/H].
        key: [B, H, M, D/H].
        value: [B, H, M, D/H].
        mask: Visibility of M keys for N queries.

    Returns:
        [B, N, D].
    """
    if isinstance(mask, BlockMask):
        return merge_heads(flex_attention(query, key, value, block_mask=mask))
    wide = query.shape[-1] > MAX_FUSED_HEAD_WIDTH
    slow_kernel = wide or (query.device.type == "cpu" and query.dtype == torch.bfloat16)
    written_out = slow_kernel and torch.is_grad_enabled()
    if isinstance(mask, tuple):
        in_segments = segmented_attention if written_out else _fused_segments
        if torch.compiler.is_compiling():  # the bounds would make a program for each length of a text
            in_segments = torch.compiler.disable(in_segments)
        return in_segments(query, key, value, mask)
    if written_out:
        whole = Segment(slice(0, query.shape[2]), (slice(0, key.shape[2]),), mask)
        return segmented_attention(query, key, value, (whole,))
    return merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))


def attend_cached(
    query: Tensor, key: Tensor, value: Tensor, mask: AttentionMask, cached: Tensor | CachedRows | None
) -> Tensor:
    """:func:`attend` to ``cached`` keys and values, then those of the pass."""
    if cached is not None and not isinstance(cached, Tensor):
        assert mask is None or isinstance(mask, Tensor)
        return cached.attend(query, key, value, mask)
    if cached is not None:
        cached_key, cached_value = cast_like(cached, key).unbind(0)
        key, value = torch.cat([cached_key, key], dim=2), torch.cat([cached_value, value], dim=2)
    return attend(query, key, value, mask)


def _fused_segments(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    """:func:`sunfish.model.kernels.autograd.segmented_attention` by PyTorch's fused kernel."""
    bounds = {end for segment in segments for part in segment.keys for end in (part.start, part.stop)}
    cuts = sorted({0, key.shape[2], *bounds})
    # Split once: the gradient of each slice by itself would be as large as the whole.
    queries = query.split([s.queries.stop - s.queries.start for s in segments], dim=2)
    keys, values = (x.split([end - begin for begin, end in pairwise(cuts)], dim=2) for x in (key, value))

    def select(pieces: Sequence[Tensor], slices: tuple[slice, ...]) -> Tensor:
        chosen = [piece for s in slices for piece in pieces[cuts.index(s.start) : cuts.index(s.stop)]]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=2)

    outputs = [
        F.scaled_dot_product_attention(q, select(keys, s.keys), select(values, s.keys), attn_mask=s.mask)
        for q, s in zip(queries, segments, strict=True)
    ]
    return merge_heads(torch.cat(outputs, dim=2))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """``[B, N, D]`` to ``[B, H, N, D/H]``."""
    heads_last: Tensor = x.unflatten(-1, (heads, -1))
    return heads_last.transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """``[..., H, N, D/H]`` to ``[..., N, D]``."""
    return x.transpose(-3, -2).flatten(-2)


class SelfAttention(nn.Module):
    """Multi-head attention over the cache and the pass, with rotary positions and normalized queries and keys.

    Query-key normalization (Henry et al. 2020; Dehghani et al. 2023) bounds the logits, so training stays stable at
    high learning rates and in bfloat16; a learned scale for each head sets how sharp it may become.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.qkv_proj = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.out_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.scale = nn.Parameter(torch.ones(config.n_head, 1, 1))

    def forward(
        self,
        x: Tensor,
        rotary: Rotary,
        cached: Tensor | CachedRows | None = None,
        mask: AttentionMask = None,
        kv_input: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Attend.

        Args:
            x: [B, N, D].
            rotary: cos and sin of the positions.
            cached: [2, B, H, C, D/H] keys and values of the text so far, or those of each row.
            mask: Visibility of C + N keys, of N where each row has its own cache.
            kv_input: [B, N, D] what a position shows to those that attend to it, in addition to ``x``.

        Returns:
            The output [B, N, D], and the keys and values of this pass, each [B, H, N, D/H].
        """
        projected = self.qkv_proj(x)
        if kv_input is not None:
            width = x.shape[-1]
            projected = projected + F.pad(F.linear(kv_input, self.qkv_proj.weight[width:]), (width, 0))
        query, key, value = qk_norm_rope(projected, self.scale, rotary)
        return self.out_proj(attend_cached(query, key, value, mask, cached)), (key, value)


class CrossAttention(nn.Module):
    """Attention to the encoded prompt, whose keys and values come ready-made with the condition.

    Its input need not be normalized: it makes nothing but queries, and these are.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.n_head
        self.q_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.out_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.scale = nn.Parameter(torch.ones(config.n_head, 1, 1))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """``x [B, N, D]``, ``keys`` and ``values [B, H, 1+P, D/H]``, ``mask [B, 1, 1, 1+P]`` -> ``[B, N, D]``."""
        query = rms_norm(split_heads(self.q_proj(x), self.heads)) * cast_like(self.scale, x)
        output: Tensor = self.out_proj(attend(cast_like(query, keys), keys, values, mask))
        return output


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down_proj(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.n_embd, 2 * config.n_hidden, bias=False)
        self.down_proj = nn.Linear(config.n_hidden, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, N, D]`` to ``[B, N, D]``."""
        output: Tensor = self.down_proj(swiglu(self.gate_up_proj(x)))
        return output


class Block(nn.Module):
    """Pre-norm self-attention, cross-attention to the prompt (if the block has it), feed-forward."""

    def __init__(self, config: ModelConfig, cross: bool) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config)
        self.cross_attention = CrossAttention(config) if cross else None
        self.feed_forward = FeedForward(config)
        self.dropout = 0.0  # rate on each residual branch; see Transformer.set_dropout

    def forward(
        self,
        x: Tensor,
        rotary: Rotary,
        prompt: Prompt | None = None,
        cached: Tensor | CachedRows | None = None,
        mask: AttentionMask = None,
        kv_input: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """``x [B, N, D]`` -> the same shape, and keys and values of this pass; arguments as in attention."""
        y, new_kv = self.self_attention(rms_norm(x), rotary, cached, mask, kv_input)
        x = x + self._drop(y)
        if self.cross_attention is not None and prompt is not None:
            x = x + self._drop(self.cross_attention(x, *prompt))
        return x + self._drop(self.feed_forward(rms_norm(x))), new_kv

    def _drop(self, y: Tensor) -> Tensor:
        return F.dropout(y, self.dropout) if self.training and self.dropout else y


class Smear(nn.Module):
    """Each position begins with a learned part of its neighbors: prev_scale * previous + next_scale * next token.

    Attention has to learn where "the previous token" is before it can use it; most of what a small network learns in
    its first minutes is just that. Here it is there from the first step on: the smeared keys of Olsson et al. 2022
    (arXiv:2209.11895), moved to the input, and, on the canvas, to both sides. Text positions, which are causal, get
    the previous token only. The scales are learned for the components of each head.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.prev_scale = nn.Parameter(torch.empty(config.n_head, 1))
        self.next_scale = nn.Parameter(torch.empty(config.n_head, 1))

    @torch.no_grad()
    def init_weights(self) -> None:
        """Begin with half of each neighbor."""
        self.prev_scale.fill_(SMEAR_INIT)
        self.next_scale.fill_(SMEAR_INIT)

    def forward(self, tokens: Tensor, layout: Layout, last_token: Tensor) -> Tensor:
        """What neighbors add.

        Args:
            tokens: [B, N, D] normalized token embeddings of the pass.
            layout: Where the positions stand.
            last_token: [B, D] the token before the pass; 0 where there is none.

        Returns:
            [B, N, D].
        """
        prev_scale, count = _per_component(self.prev_scale, tokens), layout.num_causal
        left = torch.cat([last_token[:, None], tokens[:, :count]], dim=1)  # [B, 1+n, D]: i is left of text i
        text = left[:, :count] * prev_scale
        if count == tokens.shape[1]:
            return text
        blocks = layout.to_blocks(tokens[:, count:])
        smeared = torch.cat([left[:, layout.block_left, None], blocks[:, :, :-1]], dim=2) * prev_scale
        if blocks.shape[2] > 1:
            following = F.pad(blocks[:, :, 1:], (0, 0, 0, 1))
            smeared = torch.addcmul(smeared, following, _per_component(self.next_scale, tokens))
        canvas = layout.from_blocks(smeared)
        return torch.cat([text, canvas], dim=1) if count else canvas


def _per_component(scale: Tensor, tokens: Tensor) -> Tensor:
    """A scale for each head ``[H, 1]`` as one for each component ``[D]``."""
    return cast_like(scale.expand(-1, tokens.shape[-1] // len(scale)).flatten(), tokens)
