"""Custom autograd functions: the values and the gradients of the plain operations, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.kernels.autograd import (
    apply_rotary_emb,
    qk_norm_rope,
    rms_norm,
    segmented_attention,
    swiglu,
)
from sunfish.model.layers import attend, merge_heads, rotary_cos_sin, split_heads
from sunfish.model.layout import Segment, joint_segments, prepend_keys

CPU = torch.device("cpu")


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def rotary(positions: int, head_width: int) -> tuple[Tensor, Tensor]:
    cos, sin = rotary_cos_sin(positions, head_width)
    return cos.double(), sin.double()


def as_complex_numbers(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding as it is defined: pairs of components as complex numbers, times e^(i angle)."""
    half = x.shape[-1] // 2
    rotation = torch.complex(cos[:, :half], sin[:, half:])
    pairs = torch.complex(x[..., :half], x[..., half:]) * rotation
    return torch.cat([pairs.real, pairs.imag], dim=-1)


def test_rms_norm() -> None:
    x = random(4, 6)
    assert torch.autograd.gradcheck(rms_norm, x)
    expected = F.rms_norm(x, (6,), None, 0.0)
    torch.testing.assert_close(rms_norm(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(x), expected)


def test_swiglu() -> None:
    x = random(4, 6)
    assert torch.autograd.gradcheck(swiglu, x)
    expected = F.silu(x[:, :3]) * x[:, 3:]
    torch.testing.assert_close(swiglu(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(swiglu(x), expected)


def test_rotary_embedding_is_a_product_of_complex_numbers() -> None:
    x, angles = random(2, 3, 5, 8), rotary(5, 8)
    torch.testing.assert_close(apply_rotary_emb(x, *angles), as_complex_numbers(x, *angles))


def test_queries_and_keys_are_normalized_and_rotated() -> None:
    projected, scale, angles = random(2, 5, 3 * 8), random(2, 1, 1), rotary(5, 4)
    query, key, value = (split_heads(part, 2) for part in projected.chunk(3, dim=-1))
    query, key = (as_complex_numbers(F.rms_norm(part, (4,), None, 0.0), *angles) for part in (query, key))
    expected = (query * scale, key, value)
    torch.testing.assert_close(qk_norm_rope(projected, scale, angles), expected)
    with torch.no_grad():
        torch.testing.assert_close(qk_norm_rope(projected, scale, angles), expected)
    assert torch.autograd.gradcheck(lambda x, s: qk_norm_rope(x, s, angles), (projected, scale))


def test_a_scale_of_0_still_has_a_gradient() -> None:
    projected, scale = random(1, 3, 3 * 4), torch.zeros(1, 1, 1, dtype=torch.float64, requires_grad=True)
    query, key, _ = qk_norm_rope(projected, scale, rotary(3, 4))
    (query * key.detach()).sum().backward()
    assert scale.grad is not None and projected.grad is not None
    assert float(scale.grad.abs()) > 1e-3 and torch.isfinite(projected.grad).all()


@pytest.mark.parametrize("block_length", [1, 3, 6])
@pytest.mark.parametrize("canvases", [1, 2])
def test_attention_in_segments_is_that_of_the_fused_kernel(canvases: int, block_length: int) -> None:
    query, key, value = (random(2, 2, (1 + canvases) * 6, 4) for _ in range(3))
    segments = joint_segments(6, canvases, block_length, CPU)
    expected = attend(query, key, value, segments)  # in float64, PyTorch's fused kernel
    torch.testing.assert_close(segmented_attention(query, key, value, segments), expected)
    inputs = (query, key, value)
    assert torch.autograd.gradcheck(
        lambda q, k, v: segmented_attention(q, k, v, segments), inputs, fast_mode=True
    )


@pytest.mark.parametrize("canvases", [1, 2])
def test_segments_with_prompt_keys_before_the_text(canvases: int) -> None:
    """Those of the copy head, compared with one mask over everything."""
    size = (1 + canvases) * 6
    query, key, value = random(2, 1, size, 4), random(2, 1, 3 + size, 4), random(2, 1, 3 + size, 4)
    prompt = torch.tensor([[True, True, False], [True, False, False]])[:, None, None, :]
    copyable = torch.rand(2, size) < 0.7
    segments = joint_segments(6, canvases, 3, CPU)
    mask = torch.zeros(2, 1, size, 3 + size, dtype=torch.bool)
    mask[..., :3] = prompt
    for queries, keys, within in segments:
        columns = torch.tensor([column for part in keys for column in range(part.start, part.stop)])
        visible = copyable[:, None, None, columns]
        mask[:, :, queries, 3 + columns] = visible if within is None else visible & within
    expected = merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
    with_prompt = prepend_keys(segments, prompt, copyable)
    assert isinstance(with_prompt, tuple)
    for attention in (segmented_attention, attend):
        torch.testing.assert_close(attention(query, key, value, with_prompt), expected)


def test_attention_of_rows_that_see_different_keys() -> None:
    query, key, value = random(2, 2, 3, 4), random(2, 2, 5, 4), random(2, 2, 5, 4)
    mask = torch.rand(2, 1, 1, 5) < 0.6
    mask[..., 0] = True
    segments = (Segment(slice(0, 3), (slice(0, 5),), mask),)
    expected = merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
    torch.testing.assert_close(segmented_attention(query, key, value, segments), expected)
    inputs = (query, key, value)
    assert torch.autograd.gradcheck(
        lambda q, k, v: segmented_attention(q, k, v, segments), inputs, fast_mode=True
    )


def test_bfloat16_attention_written_out_is_the_fused_one() -> None:
    query, key, value = (torch.randn(2, 2, n, 8, requires_grad=True) for n in (5, 9, 9))
    mask = torch.rand(5, 9) < 0.7
    mask[:, 0] = True
    row_mask = torch.rand(2, 1, 1, 9) < 0.7
    row_mask[..., 0] = True
    for visible in (mask, row_mask, None):
        exact = F.scaled_dot_product_attention(
            query.double(), key.double(), value.double(), attn_mask=visible
        )
        actual = attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), visible)
        assert actual.requires_grad and actual.dtype == torch.bfloat16
        torch.testing.assert_close(actual.double(), merge_heads(exact), atol=0.05, rtol=0.05)
