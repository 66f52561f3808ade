"""Resampling: without bias, each candidate at most once, the best for certain; and what particles are worth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sunfish.sampling.smc import effective_sample_size, falling_order, optimal_resampling

GRID = 100
PRIORITIES = {
    "spread": [0.05, 3.0, 0.4, 1.1, 0.02, 0.7, 0.3, 0.9],
    "equal": [1.0] * 7,
    "one dominates": [1e-6, 5.0, 2e-6, 3e-6, 1e-6],
    "two scales": [40.0, 1.0, 30.0, 1.0, 1.0, 1.0],
    "some impossible": [0.0, 1.0, 0.0, 2.0, 0.5, 0.25],
}


def uniforms() -> list[float]:
    return [(number + 0.5) / GRID for number in range(GRID)]


def mean_weights(
    log_priority: Tensor, count: int, negligible: float = 0.0, total: float = -math.inf
) -> Tensor:
    """The mean over all uniforms of what each candidate weighs afterwards."""
    mean = torch.zeros(len(log_priority), dtype=torch.float64)
    for uniform in uniforms():
        kept = optimal_resampling(log_priority, count, uniform, negligible, total)
        mean[kept.places] += (log_priority[kept.places] - kept.log_probability).exp() / GRID
    return mean


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("name", PRIORITIES)
def test_a_weight_keeps_its_mean(name: str, count: int) -> None:
    """Exact but for the width of the grid, which each of a candidate's two limits may miss by half a step."""
    priority = torch.tensor(PRIORITIES[name], dtype=torch.float64)
    threshold = max(float(priority.sum()), 1.0)  # the most that a step of the grid can weigh
    error = (mean_weights(priority.log(), count) - priority).abs()
    assert float(error.max()) <= threshold / GRID + 1e-12


@pytest.mark.parametrize("negligible, total", [(0.1, -math.inf), (0.03, math.log(30.0)), (0.5, -math.inf)])
def test_a_weight_keeps_its_mean_where_negligible_ones_are_thinned_out(
    negligible: float, total: float
) -> None:
    priority = torch.tensor(PRIORITIES["spread"], dtype=torch.float64)
    error = (mean_weights(priority.log(), 6, negligible, total) - priority).abs()
    assert float(error.max()) <= negligible * max(math.exp(total), float(priority.sum())) / GRID + 1e-12


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("name", PRIORITIES)
def test_at_most_so_many_and_none_twice(name: str, count: int) -> None:
    """As many as there may be, where there are more: systematic draws add up to a whole number."""
    log_priority = torch.tensor(PRIORITIES[name], dtype=torch.float64).log()
    possible = sum(value > 0 for value in PRIORITIES[name])
    for uniform in [*uniforms()[::10], 0.0, 1 - 2**-53]:
        kept = optimal_resampling(log_priority, count, uniform)
        places = kept.places.tolist()
        assert len(set(places)) == len(places) <= min(count, possible)
        assert len(places) >= min(count, possible) - (uniform in (0.0, 1 - 2**-53))  # rounding of the sum
        values = log_priority[kept.places]
        assert torch.equal(values, values.sort(descending=True).values) and bool(values.isfinite().all())
        assert bool((kept.log_probability <= 1e-12).all())


def test_those_above_the_threshold_are_certain_and_the_others_share_it() -> None:
    """Of 40, 30, 1, 1, 1, 1 three are kept: the two, and one of four; by hand."""
    log_priority = torch.tensor(PRIORITIES["two scales"], dtype=torch.float64).log()
    drawn = set()
    for uniform in uniforms()[::20]:
        kept = optimal_resampling(log_priority, 3, uniform)
        assert kept.places[:2].tolist() == [0, 2]
        torch.testing.assert_close(kept.log_probability.exp(), torch.tensor([1.0, 1.0, 0.25]).double())
        drawn.add(int(kept.places[2]))
    assert drawn == {1, 3, 4, 5}


def test_the_negligible_are_kept_by_chance_though_there_is_room() -> None:
    """Of 90, 9 and 1 with a floor of 5%: 1 is kept with probability 1/5, and then weighs 5."""
    log_priority = torch.tensor([1.0, 90.0, 9.0], dtype=torch.float64).log()
    kept = [optimal_resampling(log_priority, 3, uniform, 0.05) for uniform in uniforms()]
    assert {tuple(one.places.tolist()) for one in kept} == {(1, 2), (1, 2, 0)}
    assert sum(len(one.places) == 3 for one in kept) == GRID // 5
    assert all(torch.equal(one.log_probability[:2], torch.zeros(2).double()) for one in kept)
    assert {round(math.exp(one.log_probability[2]), 9) for one in kept if len(one.places) == 3} == {0.2}
    # Against a total of 1000 even 9 is below the floor of 50.
    rare = [optimal_resampling(log_priority, 3, uniform, 0.05, math.log(1000)) for uniform in uniforms()]
    assert sum(2 in one.places.tolist() for one in rare) == pytest.approx(GRID * 9 / 50, abs=1)
    assert all(one.places[0] == 1 and one.log_probability[0] == 0 for one in rare)


def test_nothing_possible_keeps_nothing() -> None:
    for log_priority in (torch.empty(0), torch.full((4,), -torch.inf)):
        kept = optimal_resampling(log_priority, 3, 0.5)
        assert len(kept.places) == len(kept.log_probability) == 0


def test_the_scale_of_priorities_has_no_part_in_it() -> None:
    log_priority = torch.tensor(PRIORITIES["spread"], dtype=torch.float64).log()
    for shift in (-3000.0, 3000.0):
        one, other = (optimal_resampling(log_priority + by, 3, 0.3, 0.05) for by in (0.0, shift))
        assert torch.equal(one.places, other.places)
        torch.testing.assert_close(one.log_probability, other.log_probability)


def test_what_particles_are_worth() -> None:
    """Equal ones drawn by small chance count as many; certain ones the most there can be; one alone counts one."""
    equal = torch.full((8,), -700.0)
    rare, certain = (torch.full((8,), value, dtype=torch.float64) for value in (-30.0, 0.0))
    assert effective_sample_size(equal, rare, 100) == pytest.approx(8)
    assert effective_sample_size(equal, certain, 100) == 100
    assert effective_sample_size(equal, rare, 5) == 5
    dominated = torch.tensor([0.0, *[-40.0] * 7])
    assert effective_sample_size(dominated, rare, 100) == pytest.approx(1)
    weights = torch.tensor([0.5, 0.3, 0.2]).double()
    chance = torch.tensor([1.0, 0.5, 0.1]).double()
    by_hand = 1 / (0.3**2 * 0.5 + 0.2**2 * 0.9)
    assert effective_sample_size(weights.log(), chance.log(), 100) == pytest.approx(by_hand)


def test_rounding_does_not_order_what_is_equal() -> None:
    logs = torch.tensor([-1.0, -0.5, -1.0, -math.inf, -0.5, 2.0], dtype=torch.float64)
    noise = torch.tensor([0, 1e-13, 3e-14, 0, 2e-13, -1e-13], dtype=torch.float64)
    for rounded in (logs, logs + noise, logs - noise):
        assert falling_order(rounded).tolist() == [5, 1, 4, 0, 2, 3]
