"""What layers do between their products, with gradients written out: fewer passes over memory than autograd's own.

A small network on a CPU spends more time moving numbers than multiplying matrices. Each function here is one node of the
graph: what it keeps for its gradient is as little as there is, and the gradient is written where it is needed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# A stretch of queries, the stretches of keys that it sees, and what it sees of these, ``[(B, 1,) N, M]`` bool.
Part = tuple[slice, tuple[slice, ...], Tensor | None]
UNSEEN = -1e4  # added to a score
LEAST_GAIN = 1e-6


def _needs_gradient() -> bool:
    """Whether the written-out gradients are called for; a compiler finds better ones by itself."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


# Here and below the type is named: under a GPU's autocast norms, reciprocals and softmaxes give float32, and all that
# follows would be float32 as well.
def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=1e-6).to(x.dtype)


def _inverse_rms(x: Tensor) -> Tensor:
    return (x.shape[-1] ** 0.5 / _length(x)).to(x.dtype)


class _Normalise(torch.autograd.Function):
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
        return torch.div(x, _length(x)).mul_(x.shape[-1] ** 0.5)
    return x * _inverse_rms(x) if torch.compiler.is_compiling() else _Normalise.apply(x)


def _silu_times(both: Tensor) -> Tensor:
    gate, up = both.chunk(2, dim=-1)
    return F.silu(gate) * up if torch.compiler.is_compiling() else F.silu(gate).mul_(up)


class _Gated(torch.autograd.Function):
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
    return _Gated.apply(both) if _needs_gradient() else _silu_times(both)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate component j with j + D/2H of ``x [..., N, D/H]``; ``cos`` and ``sin`` as ``rotary_angles`` has them."""
    return torch.addcmul(x * cos.to(x.dtype), x.roll(x.shape[-1] // 2, dims=-1), sin.to(x.dtype))


class _Heads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, gain: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = len(gain)
        parts = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        kind, (_, batch, _, length, width) = projected.dtype, parts.shape
        gains = torch.stack([gain, torch.ones_like(gain)])[:, None].to(kind)  # [2, 1, H, 1, 1]
        gains = torch.where(gains.abs() < LEAST_GAIN, LEAST_GAIN, gains)  # the gradient divides by it
        scale, cos, sin = _inverse_rms(parts[:2]) * gains, cos.to(kind), sin.to(kind)
        turned = projected.new_empty(2, batch, heads, length, width)
        torch.mul(parts[:2], scale, out=turned)
        rolled = turned.roll(width // 2, dims=-1)
        turned.mul_(cos).addcmul_(rolled, sin)
        query, key = turned.unbind(0)
        ctx.save_for_backward(query, key, scale, gain, gains, cos, sin)
        return query, key, parts[2].contiguous()

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, for_query: Tensor, for_key: Tensor, for_value: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        query, key, scale, gain, gains, cos, sin = ctx.saved_tensors
        batch, heads, length, width = query.shape
        result = query.new_empty(batch, length, 3, heads, width)
        parts = result.permute(2, 0, 3, 1, 4)
        # With y the normalised and r = gain R y the rotated vector, <dr, r> / gain is the gradient of the gain, and what
        # the norm takes from that of y is R^T of what it would take from that of R y.
        along: list[Tensor] = []
        for i, (made, gradient) in enumerate(((query, for_query), (key, for_key))):
            along.append((gradient * made).sum(-1, keepdim=True))
            across = torch.addcmul(gradient, made, along[i] / gains[i].square(), value=-1 / width)
            rolled = across.roll(width // 2, dims=-1)
            back = across.mul_(cos).addcmul_(rolled, sin, value=-1)
            torch.mul(back, scale[i], out=parts[i])
        parts[2].copy_(for_value)
        of_gain = (along[0].sum((0, 2), keepdim=True)[0] / gains[0, 0]).to(gain.dtype)
        return result.flatten(2), of_gain, None, None


def queries_keys_values(
    projected: Tensor, gain: Tensor, angles: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """``projected [B, N, 3 D]`` as queries, keys and values, each ``[B, H, N, D/H]``.

    Queries and keys are normalised and rotated by ``angles`` (cos and sin); ``gain [H, 1, 1]`` is that of the queries.
    """
    if _needs_gradient():
        return _Heads.apply(projected, gain, *angles)
    parts = projected.unflatten(-1, (3, len(gain), -1)).permute(2, 0, 3, 1, 4)
    query, key = rotate(normalise(parts[:2]), *angles).unbind(0)
    return query * gain.to(query.dtype), key, parts[2].to(key.dtype)


def _flat(x: Tensor, stretches: tuple[slice, ...]) -> Tensor:
    """``[B, H, M, D/H]`` at ``stretches`` of M, as ``[B H, ., D/H]``."""
    if len(stretches) == 1:
        return x[:, :, stretches[0]].flatten(0, 1)
    return torch.cat([x[:, :, stretch] for stretch in stretches], dim=2).flatten(0, 1)


def _bias(mask: Tensor | None, query: Tensor) -> Tensor:
    """What ``mask [(B, 1,) N, M]`` adds to the scores ``[B H, N, M]`` of ``query [B, H, ., D/H]``."""
    if mask is None:
        return query.new_zeros(1)
    bias = query.new_zeros(mask.shape).masked_fill_(~mask, UNSEEN)
    return bias.expand(*query.shape[:2], -1, -1).flatten(0, 1) if bias.ndim == 4 else bias


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part]) -> Tensor:
        batch, heads, length, width = query.shape
        merged, weights = query.new_empty(batch, length, heads, width), []
        for rows, seen, mask in parts:
            asked, keys = _flat(query, (rows,)), _flat(key, seen)
            scores = torch.baddbmm(_bias(mask, query), asked, keys.mT, alpha=width**-0.5)
            weights.append(torch.softmax(scores, dim=-1, dtype=scores.dtype))
            found = torch.bmm(weights[-1], _flat(value, seen))
            merged[:, rows] = found.unflatten(0, (batch, heads)).transpose(1, 2)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.parts = [part[:2] for part in parts]
        return merged.flatten(2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        query, key, value, *weights = ctx.saved_tensors
        _, heads, _, width = query.shape
        scale, gradient = width**-0.5, gradient.unflatten(2, (heads, -1)).transpose(1, 2)
        of_query = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        of_key, of_value = (torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (key, value))
        for (rows, seen), weight in zip(ctx.parts, weights, strict=True):
            found, asked = _flat(gradient, (rows,)), _flat(query, (rows,))
            of_weight = torch.bmm(found, _flat(value, seen).mT)
            of_score = torch._softmax_backward_data(of_weight, weight, -1, weight.dtype)
            into = of_query.flatten(0, 1)[:, rows]
            torch.baddbmm(into, of_score, _flat(key, seen), beta=0, alpha=scale, out=into)
            _add(of_value, seen, weight, found, 1.0)
            _add(of_key, seen, of_score, asked, scale)
        return of_query, of_key, of_value, None


def _add(total: Tensor, seen: tuple[slice, ...], left: Tensor, right: Tensor, scale: float) -> None:
    """Add scale * left^T right, ``[B H, M, D/H]``, to the stretches of ``total [B, H, M, D/H]`` that were seen."""
    begin, flat = 0, total.flatten(0, 1)
    for stretch in seen:
        into = flat[:, stretch]
        into.baddbmm_(left[:, :, begin : begin + into.shape[1]].mT, right, alpha=scale)
        begin += into.shape[1]


def attention(query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part]) -> Tensor:
    """softmax(q k^T / sqrt(D/H)) v of queries ``[B, H, N, D/H]`` and keys and values ``[B, H, M, D/H]``, ``[B, N, D]``.

    ``parts`` say which queries see which keys; together they have every query once.
    """
    return _Attention.apply(query, key, value, parts)
