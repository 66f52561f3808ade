"""Operations with gradients written out: the values and the gradients of the plain ones, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.kernels.autograd import attention, queries_keys_values
from sunfish.model.layers import _fused, merge_heads, rotary_angles, split_heads
from sunfish.model.side_by_side import behind, parts_of


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
    query, key, value = (drawn(2, 2, (1 + canvases) * 6, 4) for _ in range(3))
    parts = parts_of(6, canvases, block, torch.device("cpu"))
    torch.testing.assert_close(attention(query, key, value, parts), _fused(query, key, value, parts))
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, parts), (query, key, value))


@pytest.mark.parametrize("canvases", [1, 2])
def test_parts_with_keys_in_front_of_the_text(canvases: int) -> None:
    """The pointer's, whose keys begin with the prompt's: beside one mask over everything."""
    size = (1 + canvases) * 6
    query, key, value = drawn(2, 1, size, 4), drawn(2, 1, 3 + size, 4), drawn(2, 1, 3 + size, 4)
    shown = torch.tensor([[True, True, False], [True, False, False]])[:, None, None, :]
    visible = torch.rand(2, size) < 0.7
    alone = parts_of(6, canvases, 3, torch.device("cpu"))
    mask = torch.zeros(2, 1, size, 3 + size, dtype=torch.bool)
    mask[..., :3] = shown
    for rows, seen, sees in alone:
        for stretch in seen:
            mask[:, :, rows, stretch.start + 3 : stretch.stop + 3] = visible[:, None, None, stretch]
        columns = [column + 3 for stretch in seen for column in range(stretch.start, stretch.stop)]
        if sees is not None:
            mask[:, :, rows, columns] &= sees
    expected = merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
    parts = behind(alone, shown, visible)
    for way in (attention, _fused):
        torch.testing.assert_close(way(query, key, value, parts), expected)


def test_attention_of_rows_that_see_different_keys() -> None:
    query, key, value = drawn(2, 2, 3, 4), drawn(2, 2, 5, 4), drawn(2, 2, 5, 4)
    mask = torch.rand(2, 1, 1, 5) < 0.6
    mask[..., 0] = True
    part = slice(0, 3), (slice(0, 5),), mask
    expected = merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
    torch.testing.assert_close(attention(query, key, value, [part]), expected)
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, [part]), (query, key, value))
