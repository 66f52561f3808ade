"""The masked process against independent truth: closed forms and full enumeration over a tiny vocabulary."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from sunfish.processes.masked import MaskedProcess
from sunfish.processes.schedules import LOG_LINEAR
from sunfish.rng import make_generator
from sunfish.training.time_sampling import fixed_count_mask, stratified_times
from tests.helpers import NO_PROMPT, row_generators
from tests.laws.enumeration import Enumeration
from tests.laws.masked_oracle import DATA, PROCESS, MaskedOracle, N, V


def test_the_schedule_has_its_ends_and_its_derivative() -> None:
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    assert LOG_LINEAR.at(0.0) == pytest.approx(1, abs=1e-12)
    assert LOG_LINEAR.at(1.0) == pytest.approx(0, abs=1e-12)
    numeric = (LOG_LINEAR.alpha(t + 1e-6) - LOG_LINEAR.alpha(t - 1e-6)) / 2e-6
    torch.testing.assert_close(LOG_LINEAR.derivative(t), numeric, atol=1e-6, rtol=1e-6)
    assert bool((LOG_LINEAR.derivative(t) < 0).all())
    torch.testing.assert_close(LOG_LINEAR.weight(t), 1 / t)
    assert LOG_LINEAR.weight(torch.tensor([0.0, 1e-9])).tolist() == pytest.approx([0.0, 1e9], rel=1e-6)


def test_corruption_matches_its_distribution() -> None:
    x0 = torch.arange(V).repeat(1, 20_000)
    for time in (0.0, 0.3, 0.8, 1.0):
        x_t = PROCESS.corrupt(x0, torch.full(x0.shape, time), row_generators("corrupt", time))
        masked = x_t == PROCESS.mask_id
        assert bool((x_t[~masked] == x0[~masked]).all())
        deviation = math.sqrt(max(time * (1 - time), 1e-12) / x0.numel())
        assert abs(masked.double().mean().item() - time) <= 4.5 * deviation
    clean = PROCESS.corrupt(x0, torch.zeros(x0.shape), row_generators(0))
    assert torch.equal(clean, x0)
    noise = PROCESS.corrupt(x0, torch.ones(x0.shape), row_generators(1))
    assert bool((noise == PROCESS.mask_id).all())


def expected_bound(process: MaskedProcess, oracle: MaskedOracle, x0: Tensor) -> float:
    """The bound of one text in closed form: the sum over all mask patterns, integrated over time exactly.

    For alpha = 1 - t, a pattern with m of N masked has weight int t^(m-1) (1-t)^(N-m) dt = B(m, N - m + 1).
    """
    masks = torch.tensor([*itertools.product([False, True], repeat=N)][1:])  # the first one masks nothing
    x0 = x0.expand(len(masks), -1)
    x_t, half = torch.where(masks, process.mask_id, x0), torch.full(x0.shape, 0.5, dtype=torch.float64)
    losses = process.loss(oracle.denoise(x_t, half, NO_PROMPT), x0, x_t, half).sum(1) / 2  # 1/t = 2
    sizes = masks.sum(1).tolist()
    weights = [math.gamma(m) * math.gamma(N - m + 1) / math.gamma(N + 1) for m in sizes]
    return float(losses @ torch.tensor(weights, dtype=torch.float64))


def bounds(oracle: MaskedOracle) -> Tensor:
    """The bound of every text."""
    return torch.tensor(
        [expected_bound(PROCESS, oracle, text[None]) for text in DATA.texts], dtype=torch.float64
    )


def test_the_bound_is_tight_for_the_exact_posterior_and_never_below() -> None:
    """Its mean over the data is the entropy for the perfect denoiser, and more for a worse one."""
    p, exact = DATA.probabilities, bounds(MaskedOracle())
    assert (p * exact).sum().item() == pytest.approx(DATA.entropy, abs=1e-9)
    # The masked bound averages the chain rule over all orders, so it is tight for every single text.
    torch.testing.assert_close(exact, -p.log(), atol=1e-9, rtol=0)

    class Blurred(MaskedOracle):
        def denoise(self, *args, **kwargs):
            return torch.log_softmax(super().denoise(*args, **kwargs).clamp(min=-50) * 0.5, -1)

    assert (p * bounds(Blurred())).sum() > DATA.entropy + 0.01


def monte_carlo(noise: Tensor, t: Tensor, x0: Tensor, name: str) -> Tensor:
    """The oracle's loss ``[rows]`` of texts whose tokens are corrupted at times ``noise``."""
    x_t = PROCESS.corrupt(x0, noise, row_generators(name))
    return PROCESS.loss(MaskedOracle().denoise(x_t, t, NO_PROMPT), x0, x_t, t).sum(-1)


def check_mean(losses: Tensor, expected: float) -> None:
    """4.5 standard errors at most."""
    error = losses.std().item() / math.sqrt(len(losses))
    assert losses.mean().item() == pytest.approx(expected, abs=4.5 * error)


def test_the_sampled_bound_is_the_likelihood() -> None:
    rows, exact = 30_000, -DATA.probabilities[17].log().item()
    x0 = DATA.texts[17:18].expand(rows, N)
    t = stratified_times(rows, 1, make_generator("times")).double().expand(rows, N)
    check_mean(monte_carlo(t, t, x0, "monte carlo"), exact)


def test_fixed_counts_give_the_same_bound_with_less_variance() -> None:
    rows, exact = 20_000, -DATA.probabilities[17].log().item()
    x0 = DATA.texts[17:18].expand(rows, N)
    t = stratified_times(rows, 1, make_generator("times")).double().expand(rows, N)
    noise, share = fixed_count_mask(t, N, row_generators("counts"))
    fixed = monte_carlo(noise, share, x0, "fixed")
    check_mean(fixed, exact)
    assert fixed.std() < 0.8 * monte_carlo(t, t, x0, "independent").std()


def test_the_enumeration_is_a_distribution() -> None:
    data = Enumeration.of(2, 3)
    assert data.texts.shape == (8, 3) and float(data.probabilities.sum()) == pytest.approx(1)
    assert data.chi_square(data.texts[torch.multinomial(data.probabilities, 5000, replacement=True)]) < 36
