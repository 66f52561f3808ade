"""Which times training draws and which tokens it masks: range, blocks, complementary canvases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sunfish.config import TrainingConfig
from sunfish.config.presets import preset
from sunfish.processes import build_process, process_builders
from sunfish.rng import Share, make_generator
from sunfish.training.time_sampling import (
    DRAFT_SHARE,
    bell_shaped,
    check_noise_settings,
    complementary_masks,
    fixed_count_mask,
    sample_block_times,
    sample_training_times,
    short_block_weights,
    stratified_times,
)
from sunfish.utils import UsageError
from tests.helpers import batch, process_of, row_generators


def times_of(name: str, block_length: int) -> Tensor:
    """Times of ten steps of 64 texts of 16 tokens, with mask rates between 0.2 and 0.7."""
    training = TrainingConfig(mask_rate_min=0.2, mask_rate_max=0.7)
    return torch.cat(
        [
            sample_training_times(
                batch(64, 16), block_length, process_of(name), training, make_generator("times", number)
            )
            for number in range(10)
        ]
    )


@pytest.mark.parametrize("name", process_builders())
@pytest.mark.parametrize("block_length", [1, 16])
def test_the_range_of_times(name: str, block_length: int) -> None:
    """Masks up to the largest mask rate; a time-conditioned network must know all times."""
    t, highest = times_of(name, block_length), 0.7 if name == "masked" else 1.0
    assert bool((t[:, 0] == 0).all())
    assert 0.2 <= float(t[:, 1:].min()) < 0.21 and highest - 0.01 < float(t.max()) <= highest


@pytest.mark.parametrize("name", process_builders())
def test_blocks_shorter_than_the_text(name: str) -> None:
    """Some are drafts, which know their first token. The others of masked texts have bell-shaped rates."""
    t = times_of(name, 4)
    assert bool((t[:, 0] == 0).all())
    blocks = t[:, 4:].unflatten(1, (-1, 4))
    drafts = (blocks == torch.tensor([0.0, 1.0, 1.0, 1.0])).all(-1)
    assert float(drafts.float().mean()) == pytest.approx(DRAFT_SHARE, abs=0.02)
    drawn = blocks[~drafts]
    assert bool((drawn == drawn[:, :1]).all())
    drawn = drawn[:, 0].double()
    if name == "masked":
        uniform = drawn**2 * (3 - 2 * drawn)  # the distribution function of 6 t (1 - t)
        assert float(drawn.min()) < 0.1 and float(drawn.max()) > 0.9
    else:
        uniform = (drawn - 0.2) / 0.8
    parts = torch.histc(uniform, bins=4, min=0, max=1) / len(uniform)
    torch.testing.assert_close(parts, torch.full_like(parts, 0.25), atol=0.03, rtol=0)


def test_bell_shaped_times_are_the_quantiles_of_their_density() -> None:
    """t of a uniform u solves t^2 (3 - 2 t) = u: from 0 to 1, in order, with mean 1/2 and variance 1/20."""
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    t = bell_shaped(u)
    torch.testing.assert_close(t**2 * (3 - 2 * t), u, atol=1e-14, rtol=0)
    assert bool((t.diff() > 0).all()) and float(t[0]) > 0 and float(t[-1]) < 1
    assert float(t.mean()) == pytest.approx(1 / 2) and float(t.var()) == pytest.approx(1 / 20, rel=1e-4)
    small = torch.tensor([1e-6, 1e-9, 1e-12])
    torch.testing.assert_close(bell_shaped(small), (small / 3).sqrt(), rtol=1e-3, atol=0)
    ends = bell_shaped(torch.tensor([0.0, 1e-30, 0.5, 1.0]))
    assert (
        ends.dtype == torch.float32
        and ends[[0, 2, 3]].tolist() == [0.0, 0.5, 1.0]
        and 0 < float(ends[1]) < 1e-8
    )


@pytest.mark.parametrize("length", [2, 4, 16, 1000])
def test_tokens_of_short_blocks_count_alike(length: int) -> None:
    """Of a block of n, k are masked where (k - 1) / n < t <= k / n, and count 2 each, but 1 if k = n.

    The mean of k is (n + 1) / 2 and all are masked with probability (3 n - 2) / n^3; so a token counts about 1.
    """
    t = torch.full((1, length), 1e-6).repeat(length, 1) + torch.arange(length)[:, None] / length
    masked, share = fixed_count_mask(t, length, row_generators("m"))
    assert masked.sum(1).tolist() == list(range(1, length + 1))
    weights = short_block_weights(share)
    assert bool((weights[:-1] == 2).all()) and bool((weights[-1] == 1).all())
    edges = torch.arange(length + 1, dtype=torch.float64) / length
    chance = (edges**2 * (3 - 2 * edges)).diff()
    counted = chance @ (masked * weights).sum(1).double() / length
    assert float(counted) == pytest.approx(1 + 1 / length - (3 * length - 2) / length**3)


@pytest.mark.parametrize(
    ("training", "block_length"),
    [
        (TrainingConfig(), 1),
        (TrainingConfig(), 16),
        (TrainingConfig(), 99),
        (TrainingConfig(complementary=True), 4),
    ],
    ids=["one token", "whole", "longer", "complementary"],
)
def test_there_are_no_drafts_of_one_token_or_a_whole_text_or_beside_a_complement(
    training: TrainingConfig, block_length: int
) -> None:
    t = sample_training_times(
        batch(64, 16), block_length, process_of("masked"), training, make_generator("t")
    )
    assert bool((t[:, 1:] > 0).all()) and float(t.max()) <= training.mask_rate_max


def test_a_text_that_is_one_block_has_drafts_as_part_of_a_wider_batch() -> None:
    """As the same rows have in the whole batch."""
    part = batch(64, 16)._replace(share=Share(tuple(range(64)), 64, 20, 64 * 19))
    t = sample_training_times(part, 16, process_of("masked"), TrainingConfig(), make_generator("t"))
    drafts = (t[:, 1:] == 1).all(1)
    assert float(drafts.float().mean()) == pytest.approx(DRAFT_SHARE, abs=0.02)


def test_only_masks_have_fixed_counts() -> None:
    assert [name for name in process_builders() if process_of(name).fixed_count] == ["masked"]


@pytest.mark.parametrize("block_length", [1, 4, 5, 16, 99])
def test_a_block_has_one_time(block_length: int) -> None:
    t = sample_block_times(batch(), block_length, 0.0, 1.0, make_generator("t"))
    assert t.shape == (3, 16) and not t[:, 0].any()
    blocks = list(t.split(block_length, 1))
    blocks[0] = blocks[0][:, 1:]
    blocks = [part for part in blocks if part.shape[1]]  # with length 1 the known token is a block
    assert all(bool((part == part[:, :1]).all()) for part in blocks)
    drawn = torch.cat([part[:, :1] for part in blocks], 1)
    assert len(drawn.unique()) == drawn.numel()


@pytest.mark.parametrize("block_length", [1, 3, 5, 16])
def test_the_complement_masks_the_others_and_both_count_alike(block_length: int) -> None:
    b = batch()
    chosen, share = fixed_count_mask(
        sample_block_times(b, block_length, 0.2, 0.8, make_generator("t")),
        block_length,
        row_generators("counts"),
    )
    noise, t = complementary_masks(chosen, share)
    first, second = noise.chunk(2, 1)
    assert torch.equal(first, chosen) and torch.equal(t.chunk(2, 1)[0], share)
    # Every unknown position once, the known one never.
    assert torch.equal(first + second, (share > 0).to(first.dtype))
    # Masked tokens count 1 / share: a block counts as much as it has unknown tokens, whatever was drawn.
    for canvas, time in zip((first, second), t.chunk(2, 1), strict=True):
        weight = torch.where(canvas > 0, 1 / time, torch.zeros_like(time))
        parts = (part.split(block_length, 1) for part in (canvas, weight, share > 0))
        for masked, counted, unknown in zip(*parts, strict=True):
            expected = torch.where(masked.sum(1) > 0, unknown.sum(1), 0).to(counted.dtype)
            torch.testing.assert_close(counted.sum(1), expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(complementary=True, process="uniform"), "complementary is True, but process is uniform"),
        (dict(process="uniform", mask_rate_max=0.5), "mask_rate_max is 0.5, which .* process is uniform"),
        (dict(process="gaussian", mask_rate_max=0.9), "mask_rate_max is 0.9, which .* process is gaussian"),
    ],
)
def test_noise_settings_without_effect_are_refused(fields: dict[str, Any], message: str) -> None:
    config = preset("tiny", **fields)
    with pytest.raises(UsageError, match=message):
        check_noise_settings(config, build_process(config.process, config.model.vocab_size))


@pytest.mark.parametrize(
    "fields",
    [dict(complementary=True), dict(mask_rate_max=0.9), dict(process="uniform"), dict(process="mixed")],
)
def test_noise_settings_with_an_effect_are_taken(fields: dict[str, Any]) -> None:
    config = preset("tiny", **fields)
    check_noise_settings(config, build_process(config.process, config.model.vocab_size))


def test_every_stratum_has_one_time() -> None:
    """Of 12 equal parts of (0, 1]; in random order, and anywhere in its part."""
    places, orders = [], set()
    for seed in range(40):
        times = stratified_times(3, 4, make_generator("strata", seed))
        assert times.shape == (3, 4) and torch.equal(
            times, stratified_times(3, 4, make_generator("strata", seed))
        )
        scaled = 12 * times.double().flatten()
        part = torch.ceil(scaled - 1e-6)
        assert sorted(part.tolist()) == list(range(1, 13))
        orders.add(tuple(part.tolist()))
        places += (part - scaled).tolist()
    assert len(orders) == 40
    assert min(places) < 0.05 and max(places) > 0.95 and abs(sum(places) / len(places) - 0.5) < 0.15


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.25, 0.5)])
def test_times_of_blocks_are_the_strata_between_two_rates(low: float, high: float) -> None:
    t = sample_block_times(batch(2, 16), 4, low, high, make_generator("t"))
    scaled = torch.sort(8 * (t[:, 3::4].flatten() - low) / (high - low)).values
    assert torch.equal(torch.ceil(scaled - 1e-4), torch.arange(1.0, 9))


def test_as_many_tokens_are_masked_as_the_share_says_rounded_up() -> None:
    """Which ones is random, and the known token is none of them."""
    t = torch.full((50, 9), 0.3)
    t[:, 0] = 0
    masked, share = fixed_count_mask(t, 9, row_generators("m"))
    assert masked.sum(1).tolist() == [3] * 50  # 0.3 of 8, rounded up
    torch.testing.assert_close(share[:, 1:], torch.full((50, 8), 3 / 8))
    assert not masked[:, 0].any() and not share[:, 0].any()
    assert (
        bool((masked.mean(0)[1:] - 3 / 8).abs().max() < 0.25)
        and len({tuple(row) for row in masked.tolist()}) > 20
    )
    exact = torch.full((2, 4), 0.5)
    assert fixed_count_mask(exact, 2, row_generators("m"))[0].sum(1).tolist() == [2, 2]
    assert torch.equal(masked, fixed_count_mask(t, 9, row_generators("m"))[0])
