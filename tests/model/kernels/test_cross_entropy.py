"""The fused output layer and cross-entropy: values and gradients of the plain ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sunfish.model.kernels.cross_entropy import linear_cross_entropy
from sunfish.rng import make_generator


def test_values_and_gradients_are_those_of_autograd() -> None:
    hidden = torch.randn(1100, 12, dtype=torch.float64, requires_grad=True)
    table = torch.randn(31, 12, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.randint(0, 31, (1100,)), torch.rand(1100, dtype=torch.float64)
    exact = F.cross_entropy(hidden @ table.T, targets, reduction="none")
    expected = torch.autograd.grad((exact * weights).sum() * 0.7, (hidden, table), retain_graph=True)
    total, losses = linear_cross_entropy(hidden, table, targets, weights)
    actual = torch.autograd.grad(total * 0.7, (hidden, table))
    torch.testing.assert_close(total.double(), (exact * weights).sum(), rtol=1e-5, atol=1e-3)
    for gradient, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(losses.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 128])
def test_any_number_of_rows(count: int) -> None:
    hidden = torch.randn(count, 12, dtype=torch.float64, requires_grad=True)
    table, targets = torch.randn(31, 12, dtype=torch.float64), torch.randint(0, 31, (count,))
    total, losses = linear_cross_entropy(hidden, table, targets, torch.ones(count))
    exact = F.cross_entropy(hidden @ table.T, targets, reduction="none")
    torch.testing.assert_close(losses.double(), exact, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(total, hidden)
    (expected,) = torch.autograd.grad(exact.sum(), hidden)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_reports_and_learns_what_float64_does() -> None:
    generator = make_generator("bfloat16")
    hidden = torch.randn(700, 16, generator=generator).bfloat16().requires_grad_()
    table = torch.randn(40, 16, generator=generator).requires_grad_()
    targets, weights = torch.randint(0, 40, (700,), generator=generator), torch.ones(700)
    exact = F.cross_entropy(hidden.double() @ table.double().T, targets, reduction="none")
    expected = torch.autograd.grad(exact.sum(), (hidden, table))
    total, losses = linear_cross_entropy(hidden, table, targets, weights)
    for gradient, reference in zip(torch.autograd.grad(total, (hidden, table)), expected, strict=True):
        assert (gradient.double() - reference.double()).norm() < 0.01 * reference.double().norm()
    assert abs(float(losses.double().mean() - exact.detach().mean())) < 0.005
    with torch.no_grad():
        _, evaluated = linear_cross_entropy(hidden, table, targets, weights)
        rounded = (hidden @ table.bfloat16().T).float()
    torch.testing.assert_close(evaluated, F.cross_entropy(rounded, targets, reduction="none"))


def test_an_impossible_token_has_a_finite_loss() -> None:
    hidden = torch.full((3, 4), 30.0, requires_grad=True)
    table = torch.tensor([[10.0] * 4, [-10.0] * 4])
    total, losses = linear_cross_entropy(hidden, table, torch.ones(3, dtype=torch.long), torch.ones(3))
    (gradient,) = torch.autograd.grad(total, hidden)
    assert losses.isfinite().all() and (losses > 80).all()
    torch.testing.assert_close(gradient, (table[0] - table[1]).expand(3, 4))
