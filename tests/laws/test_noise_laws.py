"""Noise of a training batch by its place: uniform and normal laws, and rows, draws and steps that share nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sunfish.rng import BatchNoise, Share, make_generator
from sunfish.training.time_sampling import stratified_times

STEPS, ROWS, LENGTH = 20, 12, 64


def noise_of(step: int, rows: tuple[int, ...] = ()) -> BatchNoise:
    """The noise of some rows of a step."""
    share = Share(rows, ROWS, LENGTH) if rows else Share()
    return BatchNoise(make_generator("noise", step), share)


def drawn(kind: str, *shape: int) -> Tensor:
    """Two draws of each step, ``[2 * STEPS, ROWS, *shape]``."""
    noises = [noise_of(step) for step in range(STEPS)]
    return torch.stack([getattr(noise, kind)(ROWS, *shape) for noise in noises for _ in range(2)])


def uniform_distance(numbers: Tensor) -> float:
    """The largest distance of the empirical distribution from the uniform one, in units of 1 / sqrt(n)."""
    ordered, count = numbers.flatten().sort().values, numbers.numel()
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    above, below = (steps[1:] - ordered).max(), (ordered - steps[:-1]).max()
    return float(torch.maximum(above, below)) * math.sqrt(count)


def test_numbers_are_uniform_and_normal() -> None:
    """By Kolmogorov and Smirnov; 1.95 is exceeded once in a thousand times."""
    assert uniform_distance(drawn("uniform", LENGTH)) < 1.95
    assert uniform_distance(drawn("uniform")) < 1.95
    normal = drawn("normal", LENGTH, 4)
    assert uniform_distance((1 + torch.erf(normal / math.sqrt(2))) / 2) < 1.95


def test_no_number_is_drawn_twice() -> None:
    """Not in another row, draw or step, nor at another place; 53 bits make that certain enough."""
    numbers = drawn("uniform", LENGTH)
    assert numbers.unique().numel() == numbers.numel()


def test_rows_draws_and_steps_are_not_correlated() -> None:
    """All pairs of 480 rows, also shifted by a place: 1 / sqrt(64) in the mean, six times that at most."""
    centered = (drawn("uniform", LENGTH).flatten(0, 1) - 0.5) * math.sqrt(12)
    for shift in (0, 1):
        products = centered @ centered.roll(shift, 1).T / LENGTH
        if not shift:
            products.fill_diagonal_(0)
        assert float(products.abs().max()) < 6 / math.sqrt(LENGTH)
        assert float(products.square().mean().sqrt()) == pytest.approx(1 / math.sqrt(LENGTH), rel=0.02)


def test_a_row_has_its_numbers_in_any_order_of_any_rows() -> None:
    whole, some = noise_of(3), noise_of(3, (7, 0, 11, 2))
    for shape in ((LENGTH,), (), (LENGTH, 3), (LENGTH,)):
        assert torch.equal(some.uniform(4, *shape), whole.uniform(ROWS, *shape)[[7, 0, 11, 2]])


def test_a_step_moves_its_generator_alike_for_every_share() -> None:
    generators = [make_generator("moved"), make_generator("moved")]
    for generator, rows in zip(generators, ((), (1, 5)), strict=True):
        share = Share(rows, ROWS, LENGTH) if rows else Share()
        stratified_times(ROWS, 8, generator, share)
        BatchNoise(generator, share).uniform(len(rows) or ROWS, LENGTH)
    assert torch.equal(*(generator.get_state() for generator in generators))


@pytest.mark.parametrize(("rows", "columns"), [(4, 3), (1, 6), (6, 1)])
def test_places_of_a_batch_take_all_strata_alike(rows: int, columns: int) -> None:
    """One time in each stratum; every place is in each as often, and so are places of two columns in each pair of rows.

    Frequencies are compared by chi-square over the independent steps; five deviations are allowed.
    """
    count, steps = rows * columns, 3000
    times = torch.stack([stratified_times(rows, columns, make_generator("s", n)) for n in range(steps)])
    strata = torch.ceil(times.double() * count - 1e-5).long().flatten(1) - 1
    assert torch.equal(strata.sort(1).values, torch.arange(count).expand(steps, -1))
    for place in range(count):
        assert chi_square(strata[:, place], count) < 5
    if rows > 1 and columns > 1:
        coarse = strata // columns
        assert chi_square(coarse[:, 0] * rows + coarse[:, 1], rows**2) < 5
        assert chi_square(coarse[:, 0] * rows + coarse[:, columns + 1], rows**2) < 5
        column = coarse.view(steps, rows, columns)[:, :, 0].sort(1).values
        assert torch.equal(column, torch.arange(rows).expand(steps, -1))


def chi_square(values: Tensor, count: int) -> float:
    """How far the frequencies of ``values`` in 0 .. count - 1 are from equal, in deviations of chi-square."""
    expected = len(values) / count
    statistic = float(((values.bincount(minlength=count) - expected) ** 2 / expected).sum())
    return (statistic - (count - 1)) / math.sqrt(2 * (count - 1))
