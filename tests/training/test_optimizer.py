"""Muon: what the iteration makes of a matrix, stacks and turns, rows of one size, resuming."""

from __future__ import annotations

import copy

import pytest
import torch

from sunfish.training.optimizer import Muon, newton_schulz


def test_newton_schulz_flattens_the_singular_values() -> None:
    stack = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for matrices in (stack, stack.mT.contiguous()):
        singular = torch.linalg.svdvals(newton_schulz(matrices, torch.float32))
        assert float(singular.min()) > 0.3 and float(singular.max()) < 1.3
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        exact, got = u @ v, newton_schulz(matrices, torch.float32)
        cosine = (exact * got).sum((1, 2)) / (exact.norm(dim=(1, 2)) * got.norm(dim=(1, 2)))
        assert float(cosine.min()) > 0.95


def test_muon_treats_each_projection_on_its_own() -> None:
    """One stacked matrix of three projections moves exactly as three matrices would."""
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(24, 8, generator=generator)
    joint = torch.nn.Parameter(torch.zeros(24, 8))
    parts = [torch.nn.Parameter(torch.zeros(8, 8)) for _ in range(3)]
    joint.grad = gradient.clone()
    for part, piece in zip(parts, gradient.split(8), strict=True):
        part.grad = piece.clone()
    Muon({joint: 3}, 0.1, 0.0, torch.float32).step()
    Muon(dict.fromkeys(parts, 1), 0.1, 0.0, torch.float32).step()
    torch.testing.assert_close(joint.detach(), torch.cat(parts).detach(), atol=1e-6, rtol=1e-5)


def test_muon_in_parts_is_muon_at_once() -> None:
    """Large networks go through the iteration in parts, and a tall matrix as its transpose would."""
    moved = []
    for numel in (10**6, 100):
        generator = torch.Generator().manual_seed(2)
        parameters = [torch.nn.Parameter(torch.randn(8, 8, generator=generator)) for _ in range(5)]
        for parameter in parameters:
            parameter.grad = torch.randn(8, 8, generator=generator)
        muon = Muon(
            dict.fromkeys(parameters, 1), 0.1, 0.01, torch.float32, update_interval=1, max_stack_numel=numel
        )
        muon.step()
        moved.append(torch.stack([parameter.detach() for parameter in parameters]))
    torch.testing.assert_close(moved[0], moved[1])
    tall = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(3))
    wide = newton_schulz(tall.mT.contiguous(), torch.float32)
    torch.testing.assert_close(newton_schulz(tall, torch.float32), wide.mT, atol=1e-4, rtol=1e-4)


def test_muon_takes_turns_with_as_many_times_the_rate() -> None:
    """Each of three matrices moves in every third step, by its momentum at that time."""
    generator = torch.Generator().manual_seed(4)
    parameters = [torch.nn.Parameter(torch.zeros(8, 8)) for _ in range(3)]
    one_matrix = parameters[0].numel()
    muon = Muon(
        dict.fromkeys(parameters, 1), 0.1, 0.0, torch.float32, update_interval=3, max_stack_numel=one_matrix
    )
    momenta = [torch.zeros(8, 8) for _ in range(3)]
    for step, mover in enumerate((0, 2, 1)):
        before = [parameter.detach().clone() for parameter in parameters]
        for parameter, momentum in zip(parameters, momenta, strict=True):
            parameter.grad = torch.randn(8, 8, generator=generator)
            momentum.mul_(0.95).add_(parameter.grad, alpha=0.05)
        muon.step()
        moved = [not torch.equal(p, old) for p, old in zip(parameters, before, strict=True)]
        assert moved == [i == mover for i in range(3)], step
        gradient = parameters[mover].grad
        assert gradient is not None
        update = newton_schulz((0.05 * gradient + 0.95 * momenta[mover])[None], torch.float32)[0]
        rows = update / update.norm(dim=1, keepdim=True)  # the first time: all alike
        expected = before[mover] - 0.3 * rows * update.norm() / rows.norm()
        torch.testing.assert_close(parameters[mover].detach(), expected, atol=1e-5, rtol=1e-4)


def test_muon_resumes_exactly_from_its_state() -> None:
    generator = torch.Generator().manual_seed(6)
    gradients = [torch.randn(8, 8, generator=generator) for _ in range(4)]

    def steps(muon: Muon, parameter: torch.nn.Parameter, gradients: list[torch.Tensor]) -> torch.Tensor:
        for gradient in gradients:
            parameter.grad = gradient.clone()
            muon.step()
        return parameter.detach().clone()

    def fresh(value: torch.Tensor) -> tuple[Muon, torch.nn.Parameter]:
        parameter = torch.nn.Parameter(value.clone())
        return Muon({parameter: 1}, 0.1, 0.0, torch.float32, update_interval=3), parameter

    muon, parameter = fresh(torch.zeros(8, 8))
    value = steps(muon, parameter, gradients[:2])
    saved = copy.deepcopy(muon.state_dict())
    expected = steps(muon, parameter, gradients[2:])
    assert not torch.equal(expected, value)
    again, parameter = fresh(value)
    again.load_state_dict(saved)
    assert torch.equal(steps(again, parameter, gradients[2:]), expected)


def test_muon_brings_rows_to_one_size_over_time() -> None:
    """A row whose updates are always the largest ends with an ordinary share; zeros stay zeros."""
    generator = torch.Generator().manual_seed(5)
    parameter, idle = (torch.nn.Parameter(torch.zeros(24, 6)) for _ in range(2))
    muon = Muon({parameter: 1, idle: 1}, 0.1, 0.0, torch.float32, update_interval=1)
    squares = torch.zeros(24)
    for _ in range(60):
        parameter.grad, idle.grad = torch.randn(24, 6, generator=generator), torch.zeros(24, 6)
        parameter.grad[0] *= 10  # newton_schulzd alone: 1.5 to 5 times the squares of the others
        before = parameter.detach().clone()
        muon.step()
        squares += (parameter.detach() - before).square().sum(1)
    assert float(squares.max() / squares.min()) < 2
    assert not idle.detach().any()


def test_muon_is_its_algorithm_step_by_step() -> None:
    """Two stacked tall projections over five steps: momentum, iteration, mean squares of rows, weight decay."""
    generator = torch.Generator().manual_seed(8)
    parameter = torch.nn.Parameter(torch.randn(24, 4, generator=generator))
    muon = Muon({parameter: 2}, 0.1, 0.5, torch.float32, update_interval=1)
    weight, momentum = parameter.detach().clone(), torch.zeros(24, 4)
    squares = torch.zeros(24)
    for _ in range(5):
        gradient = torch.randn(24, 4, generator=generator)
        parameter.grad = gradient.clone()
        muon.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        ahead = 0.95 * momentum + 0.05 * gradient
        for first in (0, 12):
            rows = slice(first, first + 12)
            update = newton_schulz(ahead[rows][None], torch.float32)[0]
            squares[rows] = 0.95 * squares[rows] + 0.05 * update.square().sum(1)
            scaled = update / squares[rows].sqrt()[:, None]
            scaled *= update.norm() / scaled.norm()
            weight[rows] = weight[rows] * (1 - 0.1 * 0.5) - 0.1 * (12 / 4) ** 0.5 * scaled
        torch.testing.assert_close(parameter.detach(), weight, atol=1e-4, rtol=1e-3)


def test_matrices_of_one_shape_are_stacked_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of 64 numbers are just 128; another shape is another stack; without a gradient there is none."""
    stacks: list[tuple[int, ...]] = []

    def iteration(stack: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        stacks.append(tuple(stack.shape))
        return stack

    monkeypatch.setattr("sunfish.training.optimizer.newton_schulz", iteration)
    shapes = [(8, 8)] * 5 + [(16, 4)]
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter in parameters[1:]:
        parameter.grad = torch.ones(parameter.shape)
    Muon(dict.fromkeys(parameters, 1), 0.1, 0.0, torch.float32, update_interval=1, max_stack_numel=128).step()
    assert stacks == [(2, 8, 8), (2, 8, 8), (1, 16, 4)]
