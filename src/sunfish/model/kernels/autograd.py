"""Custom autograd functions: what blocks do between their matrix products, with fewer passes over memory.

A small network on a CPU spends more time moving numbers than multiplying matrices. Each function here is one node of
the graph: it saves as little as its gradient needs, and the gradient is written where it is used.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.casts import cast_like
from sunfish.model.layout import Segments

HIDDEN_SCORE = -1e4  # added to the score of an invisible key
MIN_SCALE, MIN_NORM = 1e-6, 1e-6


def _needs_gradient() -> bool:
    """Whether to use the gradients written here; a compiler finds better ones by itself."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


# The dtype is named throughout: under a GPU's autocast, norms, reciprocals and softmaxes give float32, and everything
# after them would be float32 too.
def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return cast_like(norm.clamp(min=MIN_NORM), x)


def _inverse_rms(x: Tensor) -> Tensor:
    inverse: Tensor = x.shape[-1] ** 0.5 / _norm(x)
    return cast_like(inverse, x)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = _inverse_rms(x)
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        return torch.addcmul(grad, y, (grad * y).mean(-1, keepdim=True), value=-1).mul_(scale)


def rms_norm(x: Tensor) -> Tensor:
    """RMSNorm (Zhang and Sennrich 2019) without weights: scale ``[..., D]`` to root mean square 1.

    A matrix follows each norm of the network, so weights of its own would add nothing.
    """
    if not torch.is_grad_enabled():
        # The detour through autograd, and through a separate scale, is a tenth of a sampling pass. Small numbers, one a
        # vector, are scaled in place.
        norm = torch.linalg.vector_norm(x, 2, -1, True).clamp_min_(MIN_NORM)
        return x / cast_like(norm.mul_(x.shape[-1] ** -0.5), x)
    return x * _inverse_rms(x) if torch.compiler.is_compiling() else _RMSNorm.apply(x)  # type: ignore[no-untyped-call]


def _silu_gate(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up if torch.compiler.is_compiling() else F.silu(gate).mul_(up)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        return _silu_gate(gate_up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        result = torch.empty_like(gate_up)
        grad_gate, grad_up = result.chunk(2, dim=-1)
        torch.mul(grad, F.silu(gate), out=grad_up)
        torch.ops.aten.silu_backward(grad * up, gate, grad_input=grad_gate)
        return result


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of ``gate_up [..., 2 * hidden]``: the middle of SwiGLU (Shazeer 2020)."""
    return _SwiGLU.apply(gate_up) if _needs_gradient() else _silu_gate(gate_up)  # type: ignore[no-untyped-call]


def apply_rotary_emb(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate component j with j + D/2H of ``x [..., N, D/H]``; ``cos`` and ``sin`` come from ``rotary_cos_sin``."""
    return torch.addcmul(x * cast_like(cos, x), x.roll(x.shape[-1] // 2, dims=-1), cast_like(sin, x))


class _QKNormRope(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, scale: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = len(scale)
        parts = projected.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        dtype, (_, batch, _, length, width) = projected.dtype, parts.shape
        scales = torch.stack([scale, torch.ones_like(scale)])[:, None].to(dtype)  # [2, 1, H, 1, 1]
        scales = torch.where(scales.abs() < MIN_SCALE, MIN_SCALE, scales)  # the gradient divides by it
        factor, cos, sin = _inverse_rms(parts[:2]) * scales, cos.to(dtype), sin.to(dtype)
        rotated = projected.new_empty(2, batch, heads, length, width)
        torch.mul(parts[:2], factor, out=rotated)
        rolled = rotated.roll(width // 2, dims=-1)
        rotated.mul_(cos).addcmul_(rolled, sin)
        query, key = rotated.unbind(0)
        ctx.save_for_backward(query, key, factor, scale, scales, cos, sin)
        return query, key, parts[2].contiguous()

    @staticmethod
    def backward(
        ctx: Any, grad_query: Tensor, grad_key: Tensor, grad_value: Tensor
    ) -> tuple[Tensor, Tensor, None, None]:
        query, key, factor, scale, scales, cos, sin = ctx.saved_tensors
        batch, heads, length, width = query.shape
        result = query.new_empty(batch, length, 3, heads, width)
        parts = result.permute(2, 0, 3, 1, 4)
        # With y the normalized and r = scale R y the rotated vector, <dr, r> / scale is the gradient of the scale, and
        # what the norm takes from that of y is R^T of what it would take from that of R y.
        along: list[Tensor] = []
        for i, (output, grad) in enumerate(((query, grad_query), (key, grad_key))):
            along.append((grad * output).sum(-1, keepdim=True))
            across = torch.addcmul(grad, output, along[i] / scales[i].square(), value=-1 / width)
            rolled = across.roll(width // 2, dims=-1)
            back = across.mul_(cos).addcmul_(rolled, sin, value=-1)
            torch.mul(back, factor[i], out=parts[i])
        parts[2].copy_(grad_value)
        grad_scale = (along[0].sum((0, 2), keepdim=True)[0] / scales[0, 0]).to(scale.dtype)
        return result.flatten(2), grad_scale, None, None


def qk_norm_rope(
    projected: Tensor, scale: Tensor, rotary: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Split ``projected [B, N, 3 D]`` into queries, keys and values, each ``[B, H, N, D/H]``.

    Queries and keys are normalized and rotated by ``rotary`` (cos and sin); ``scale [H, 1, 1]`` is that of the queries.
    """
    if _needs_gradient():
        query, key, value = _QKNormRope.apply(projected, scale, *rotary)  # type: ignore[no-untyped-call]
        return query, key, value
    parts = projected.unflatten(-1, (3, len(scale), -1)).permute(2, 0, 3, 1, 4)
    if torch.compiler.is_compiling():
        # Of the halves of one result, a program for all lengths keeps the stride of the first one (PyTorch 2.13).
        query, key = (apply_rotary_emb(rms_norm(part), *rotary) for part in parts[:2])
    else:
        query, key = apply_rotary_emb(rms_norm(parts[:2]), *rotary).unbind(0)
    return query * cast_like(scale, query), key, cast_like(parts[2], key)


def _gather_keys(x: Tensor, slices: tuple[slice, ...]) -> Tensor:
    """``[B, H, M, D/H]`` at ``slices`` of M, as ``[B H, ., D/H]``."""
    if len(slices) == 1:
        return x[:, :, slices[0]].flatten(0, 1)
    return torch.cat([x[:, :, part] for part in slices], dim=2).flatten(0, 1)


def _bias(mask: Tensor | None, query: Tensor) -> Tensor:
    """What ``mask [(B, 1,) N, M]`` adds to the scores ``[B H, N, M]`` of ``query [B, H, ., D/H]``."""
    if mask is None:
        return query.new_zeros(1)
    bias = query.new_zeros(mask.shape).masked_fill_(~mask, HIDDEN_SCORE)
    return bias.expand(*query.shape[:2], -1, -1).flatten(0, 1) if bias.ndim == 4 else bias


class _SegmentedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
        batch, heads, length, width = query.shape
        output, weights = query.new_empty(batch, length, heads, width), []
        for queries, keys, mask in segments:
            q, k = _gather_keys(query, (queries,)), _gather_keys(key, keys)
            scores = torch.baddbmm(_bias(mask, query), q, k.mT, alpha=width**-0.5)
            weights.append(torch.softmax(scores, dim=-1, dtype=scores.dtype))
            attended = torch.bmm(weights[-1], _gather_keys(value, keys))
            output[:, queries] = attended.unflatten(0, (batch, heads)).transpose(1, 2)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.slices = [(queries, keys) for queries, keys, _ in segments]
        return output.flatten(2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, *weights = ctx.saved_tensors
        _, heads, _, width = query.shape
        scale, grad = width**-0.5, grad.unflatten(2, (heads, -1)).transpose(1, 2)
        grad_query = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        grad_key, grad_value = (torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (key, value))
        for (queries, keys), weight in zip(ctx.slices, weights, strict=True):
            grad_output, q = _gather_keys(grad, (queries,)), _gather_keys(query, (queries,))
            grad_weight = torch.bmm(grad_output, _gather_keys(value, keys).mT)
            grad_score = torch._softmax_backward_data(grad_weight, weight, -1, weight.dtype)
            target = grad_query.flatten(0, 1)[:, queries]
            torch.baddbmm(target, grad_score, _gather_keys(key, keys), beta=0, alpha=scale, out=target)
            _accumulate(grad_value, keys, weight, grad_output, 1.0)
            _accumulate(grad_key, keys, grad_score, q, scale)
        return grad_query, grad_key, grad_value, None


def _accumulate(total: Tensor, slices: tuple[slice, ...], left: Tensor, right: Tensor, scale: float) -> None:
    """Add scale * left^T right, ``[B H, M, D/H]``, to the ``slices`` of ``total [B, H, M, D/H]``."""
    begin, flat = 0, total.flatten(0, 1)
    for part in slices:
        target = flat[:, part]
        target.baddbmm_(left[:, :, begin : begin + target.shape[1]].mT, right, alpha=scale)
        begin += target.shape[1]


def segmented_attention(query: Tensor, key: Tensor, value: Tensor, segments: Segments) -> Tensor:
    """softmax(q k^T / sqrt(D/H)) v, ``[B, N, D]``, computed for the visible segments only.

    Args:
        query: [B, H, N, D/H].
        key: [B, H, M, D/H].
        value: [B, H, M, D/H].
        segments: Which queries see which keys; together they hold every query once.
    """
    output: Tensor = _SegmentedAttention.apply(query, key, value, segments)  # type: ignore[no-untyped-call]
    return output
