"""The transformer's parts: rotary positions, normalised attention, the gated feed-forward, the layer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.config import ModelConfig
from sunfish.model.masks import Visible


def rotary_angles(positions: int, head_width: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """cos, cos and -sin, sin ``[positions, head_width]`` of rotary position embedding (Su et al. 2021, eq. 15)."""
    frequency = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate component j with j + D/2H of ``x [..., N, D/H]``; ``cos`` and ``sin`` as :func:`rotary_angles` has them."""
    return torch.addcmul(x * cos.to(x.dtype), x.roll(x.shape[-1] // 2, dims=-1), sin.to(x.dtype))


def _inverse_rms(x: Tensor) -> Tensor:
    return x.shape[-1] ** 0.5 / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=1e-6)


class _Normalise(torch.autograd.Function):
    """x / rms(x) with its gradient written out: a third of the passes over memory that autograd's own takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = _inverse_rms(x)
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        y, scale = ctx.saved_tensors
        return torch.addcmul(gradient, y, (gradient * y).mean(-1, keepdim=True), value=-1).mul_(scale)


def normalise(x: Tensor) -> Tensor:
    """RMSNorm (Zhang and Sennrich 2019) without weights: ``[..., D]`` brought to root mean square 1.

    A matrix follows each of the network's norms, so weights of their own would add no function.
    """
    if not torch.is_grad_enabled():
        # The detours through autograd, and through a scale of its own, are a tenth of a sampling pass.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_(min=1e-6)
        return torch.div(x, length).mul_(x.shape[-1] ** 0.5)
    return _Normalise.apply(x)


def _silu_times(both: Tensor) -> Tensor:
    gate, up = both.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


class _Gated(torch.autograd.Function):
    """silu(gate) * up with its gradient written out: nothing is kept but the input, and no halves are joined."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        return _silu_times(both)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (both,) = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        result = torch.empty_like(both)
        for_gate, for_up = result.chunk(2, dim=-1)
        torch.mul(gradient, F.silu(gate), out=for_up)
        torch.ops.aten.silu_backward(gradient * up, gate, grad_input=for_gate)
        return result


def gated(both: Tensor) -> Tensor:
    """silu(gate) * up of ``[..., 2 H]``, gate and up side by side: the middle of SwiGLU (Shazeer 2020)."""
    return _Gated.apply(both) if torch.is_grad_enabled() else _silu_times(both)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Visible) -> Tensor:
    """softmax(q k^T / sqrt(D/H)) v: ``query [B, H, N, D/H]``, ``key`` and ``value [B, H, M, D/H]``.

    ``mask`` is bool and broadcasts to ``[B, H, N, M]``, True = visible. In bfloat16 training on a CPU the two
    products written out take a third of the fused kernel's time (benchmarks/attention_cpu.py); everywhere else
    the fused kernel is the better one. Two masks: reading and canvases side by side, see :func:`_attend_side_by_side`.
    """
    if isinstance(mask, tuple):
        return _attend_side_by_side(query, key, value, *mask)
    if not (query.device.type == "cpu" and query.dtype == torch.bfloat16 and torch.is_grad_enabled()):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    batch, heads, length, width = query.shape
    bias = query.new_zeros(1) if mask is None else query.new_zeros(mask.shape).masked_fill(~mask, -1e4)
    if bias.ndim == 4 and bias.shape[0] == batch:
        bias = bias.expand(batch, heads, length, -1).flatten(0, 1)
    scores = torch.baddbmm(bias, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=width**-0.5)
    return torch.bmm(torch.softmax(scores, dim=-1), value.flatten(0, 1)).unflatten(0, (batch, heads))


def _attend_side_by_side(
    query: Tensor, key: Tensor, value: Tensor, reading: Tensor, canvas: Tensor | None
) -> Tensor:
    """:func:`attend` for a text that is read and canvases beside it, ``[B, H, (1 + C) N, D/H]`` all.

    Reading sees itself, by its own mask ``[N, N]``. Each canvas sees itself, and the text in front of that where the
    mask of all canvases has as many positions.
    """
    length = reading.shape[-1]
    text, found = slice(0, length), []
    for first in range(0, query.shape[2], length):
        own = slice(first, first + length)
        mask = canvas if first else reading
        remembers = first > 0 and canvas is not None and canvas.shape[-1] > length
        if remembers and first > length:
            keys, values = (torch.cat([part[:, :, text], part[:, :, own]], dim=2) for part in (key, value))
        else:  # the first canvas lies right behind the text: nothing is copied
            seen = slice(0 if remembers else first, first + length)
            keys, values = key[:, :, seen], value[:, :, seen]
        found.append(attend(query[:, :, own], keys, values, mask))
    return torch.cat(found, dim=2)


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

        Two masks stand for reading and canvases side by side, as in :func:`attend`.
        ``shown [B, N, D]`` is what a position shows to those that attend to it, beside its own ``x``.
        Returns the output ``[B, N, D]`` and this call's keys and values, each ``[B, H, N, D/H]``.
        """
        projected = self.project(x)
        if shown is not None:
            width = x.shape[-1]
            projected = projected + F.pad(F.linear(shown, self.project.weight[width:]), (width, 0))
        parts = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(normalise(parts[:2]), *angles).unbind(0)
        query, value = query * self.gain.to(query.dtype), parts[2].to(key.dtype)
        own = (key, value)
        if past is not None:
            before, earlier = past.to(key.dtype).unbind(0)
            key, value = torch.cat([before, key], dim=2), torch.cat([earlier, value], dim=2)
        return self.output(merge_heads(attend(query, key, value, mask))), own


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
        return self.output(merge_heads(attend(query, keys, values, mask)))


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
        x = x + y
        if self.cross_attention is not None and prompt is not None:
            x = x + self.cross_attention(x, *prompt)
        return x + self.feed_forward(normalise(x)), own
