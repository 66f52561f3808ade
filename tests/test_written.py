"""Operations with gradients written out: the values and the gradients of the plain ones, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.attention import _fused, _side_by_side, merge_heads, rotary_angles, split_heads
from sunfish.model.masks import canvas_mask, causal_mask
from sunfish.model.written import attention, queries_keys_values


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_heads_are_normalised_rotated_and_have_their_gradients() -> None:
    projected, gain = drawn(2, 5, 3 * 8), drawn(2, 1, 1)
    cos, sin = (angle.double() for angle in rotary_angles(5, 4))

    def plain(projected: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (split_heads(part, 2) for part in projected.chunk(3, dim=-1))
        query, key = (F.rms_norm(part, (4,), None, 0.0) for part in (query, key))
        turned = []
        for part in (query, key):  # pairs as complex numbers, times e^(i angle)
            pairs = torch.complex(part[..., :2], part[..., 2:]) * torch.complex(cos[:, :2], sin[:, 2:])
            turned.append(torch.cat([pairs.real, pairs.imag], dim=-1))
        return turned[0] * gain, turned[1], value

    expected = plain(projected, gain)
    found = queries_keys_values(projected, gain, (cos, sin))
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(queries_keys_values(projected, gain, (cos, sin)), expected)
    assert torch.autograd.gradcheck(lambda p, g: queries_keys_values(p, g, (cos, sin)), (projected, gain))


def test_a_gain_of_nothing_still_has_a_gradient() -> None:
    projected, gain = drawn(1, 3, 3 * 4), torch.zeros(1, 1, 1, dtype=torch.float64, requires_grad=True)
    angles = rotary_angles(3, 4)
    query, key, _ = queries_keys_values(projected, gain, (angles[0].double(), angles[1].double()))
    (query * key.detach()).sum().backward()
    assert gain.grad is not None and projected.grad is not None
    assert float(gain.grad.abs()) > 1e-3 and torch.isfinite(projected.grad).all()


@pytest.mark.parametrize("block", [0, 1, 3])
@pytest.mark.parametrize("canvases", [1, 2])
def test_attention_side_by_side_is_the_fused_kernels(canvases: int, block: int) -> None:
    length, device = 6, torch.device("cpu")
    query, key, value = (drawn(2, 2, (1 + canvases) * length, 4) for _ in range(3))
    reading = causal_mask(length, 0, device)
    assert reading is not None
    own = canvas_mask(length, length if block else 0, 0, block, device)
    parts = _side_by_side(reading, own, query.shape[2])
    torch.testing.assert_close(attention(query, key, value, parts), _fused(query, key, value, parts))
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, parts), (query, key, value))


def test_attention_of_rows_that_see_different_keys() -> None:
    query, key, value = drawn(2, 2, 3, 4), drawn(2, 2, 5, 4), drawn(2, 2, 5, 4)
    mask = torch.rand(2, 1, 1, 5) < 0.6
    mask[..., 0] = True
    part = slice(0, 3), (slice(0, 5),), mask
    expected = merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
    torch.testing.assert_close(attention(query, key, value, [part]), expected)
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, [part]), (query, key, value))
