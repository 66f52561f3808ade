"""Sampled times and masks by their exact numbers: one time in each stratum, ceil(t n) masks in each block."""

from __future__ import annotations

import math

import pytest
import torch

from sunfish.processes.schedules import time_grid
from sunfish.rng import make_generator
from sunfish.training.time_sampling import fixed_count_mask, stratified_times
from tests.helpers import row_generators


def test_every_stratum_has_one_time() -> None:
    times = stratified_times(8, 16, make_generator("strata"))
    assert times.shape == (8, 16) and float(times.min()) > 0 and float(times.max()) <= 1
    assert sorted(torch.ceil(times.flatten().double() * 128).long().tolist()) == list(range(1, 129))


def test_the_grid_of_a_sampler_is_even_and_ends_at_0() -> None:
    assert time_grid(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_grid(1) == [1.0, 0.0]


@pytest.mark.parametrize("block_length", [1, 2, 3, 5, 99])
def test_a_block_has_exactly_its_share_of_masks(block_length: int) -> None:
    """ceil(t n) of n unknown positions, known positions never, all positions equally often."""
    rows, length = 6000, 5
    t = stratified_times(rows, math.ceil(length / block_length), make_generator("t", block_length))
    t = t.repeat_interleave(block_length, dim=1)[:, :length].clone()
    t[:, 0] = 0
    noise, share = fixed_count_mask(t, block_length, row_generators("counts", block_length))
    assert not noise[:, 0].any() and not share[:, 0].any()
    for start in range(0, length, block_length):
        block = slice(max(1, start), min(start + block_length, length))
        if not (n := block.stop - block.start):
            continue  # the known position is a block by itself
        masked = noise[:, block].sum(1)
        torch.testing.assert_close(masked, torch.ceil(t[:, block.start] * n - 1e-6))
        torch.testing.assert_close(share[:, block], (masked / n)[:, None].expand(-1, n))
        frequency = noise[:, block].mean(0)
        assert float((frequency - frequency.mean()).abs().max()) < 0.04
