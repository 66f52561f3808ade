"""The gaussian process against independent truth: moments, enumeration, spread of embeddings."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sunfish.model.kv_cache import KVCache
from sunfish.processes.gaussian import GaussianProcess, normalized_embeddings
from sunfish.rng import make_generator
from sunfish.sampling.unmasking import get_policy
from sunfish.training.trainer import Trainer
from sunfish.types import Condition, Start, State
from tests.helpers import row_generators
from tests.laws.enumeration import Constant, Enumeration, Oracle, chi_square, sample, sample_whole
from tests.runs import config

V, N, E = 3, 2, 4
DATA = Enumeration.of(V, N, spread=1.0)
TABLE = torch.randn(V + 1, E, generator=make_generator("table"), dtype=torch.float64)
CLEAN = TABLE[:V] / TABLE[:V].square().mean(dim=1, keepdim=True).sqrt()  # the last row is the mask's
PROCESS = GaussianProcess().with_embeddings(TABLE)
PRIOR = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)


class GaussianOracle(Oracle):
    """p(x_0^n | the other positions of x_t), from the density of every other noisy embedding."""

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        power = PROCESS.power(t)[..., None]  # [B, N, 1]
        distance = (x[:, :, None, :E] - power[..., None].sqrt() * CLEAN).pow(2).sum(-1)  # [B, N, V]
        log_density = -distance / (2 * (1 - power).clamp(min=1e-9))
        each = torch.stack([log_density[:, n, DATA.texts[:, n]] for n in range(N)])  # [N, B, V^N]
        joint = DATA.probabilities.log() + each.sum(0) - each
        return torch.einsum("nbk,knv->bnv", torch.softmax(joint, -1), DATA.one_hot).log()


def start_state() -> Tensor:
    """Pure noise in place of one text."""
    ids = torch.zeros(1, N, dtype=torch.long)
    return PROCESS.corrupt(ids, torch.ones(1, N), row_generators("start"))


def test_corruption_has_the_moments_it_should() -> None:
    x0 = torch.full((1, 40_000), 2)
    assert CLEAN[2].pow(2).mean() == pytest.approx(1)
    for time in (0.0, 0.3, 0.7, 1.0):
        x_t = PROCESS.corrupt(x0, torch.full(x0.shape, time), row_generators("corrupt", time))
        power = float(PROCESS.power(torch.tensor(time)))
        assert not x_t[..., E:].any()
        mean, variance = x_t[0, :, :E].mean(0), x_t[0, :, :E].var(0)
        torch.testing.assert_close(mean, math.sqrt(power) * CLEAN[2], atol=0.03, rtol=0)
        torch.testing.assert_close(variance, torch.full_like(variance, 1 - power), atol=0.04, rtol=0)
    ends = PROCESS.power(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends, torch.tensor([1.0, 0.0], dtype=torch.float64))


def test_the_power_follows_its_noise() -> None:
    """a = 1 / (1 + sigma^2) with sigma = 0.5 sqrt(E (1 - alpha) / alpha), and it falls."""
    times = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    sigma = 0.5 * (E * times / (1 - times)).sqrt()
    powers = PROCESS.power(times)
    torch.testing.assert_close(powers, 1 / (1 + sigma**2))
    assert bool((powers.diff() < 0).all())


@pytest.mark.parametrize("moment", [0.002, 0.4, 0.95])
def test_the_likelihood_is_that_of_the_normal_density(moment: float) -> None:
    """log N(x_t; sqrt(a) e(v), 1 - a), up to what all tokens share."""
    time = torch.full((1, 5), moment, dtype=torch.float64)
    x_t = PROCESS.corrupt(torch.tensor([[0, 1, 2, 0, 1]]), time, row_generators("x"))
    power = float(PROCESS.power(time[0, 0]))
    normal = torch.distributions.Normal(math.sqrt(power) * CLEAN, math.sqrt(1 - power))
    expected = normal.log_prob(x_t[0, :, None, :E]).sum(-1)
    actual = PROCESS.log_likelihood(x_t, time)[0]
    torch.testing.assert_close(actual.log_softmax(-1), expected.log_softmax(-1))


@pytest.mark.parametrize(
    "sampler,steps,exact",
    [
        ("ddpm", 100, True),
        pytest.param("ddim", 100, True, marks=pytest.mark.slow),
        pytest.param("ddim:0.5", 100, True, marks=pytest.mark.slow),
        ("ddim", 1, False),
    ],
)
def test_policies_reproduce_the_data(sampler: str, steps: int, exact: bool) -> None:
    """With the exact posterior; one step draws the tokens independently, which the test must see."""
    ids = sample_whole(GaussianOracle(), PROCESS, 2000, N, sampler, steps)
    assert (DATA.chi_square(ids) < 32) == exact  # 8 degrees of freedom, 99.99%


@pytest.mark.parametrize("steps", [2, 5])
@pytest.mark.parametrize("sampler,exact", [("ancestral", True), ("ddpm", False)])
def test_one_position_is_exact_at_any_number_of_steps_if_tokens_are_drawn(
    sampler: str, exact: bool, steps: int
) -> None:
    ids = sample_whole(Constant(PRIOR.log()), PROCESS, 20_000, 1, sampler, steps)
    assert (chi_square(torch.bincount(ids[:, 0], minlength=V), 20_000 * PRIOR) < 19) == exact


def test_ddim_is_deterministic_and_ddpm_is_not() -> None:
    x, logits = start_state(), torch.randn(1, N, V, generator=make_generator("logits"), dtype=torch.float64)

    def step(sampler: str, seed: int) -> Tensor:
        return PROCESS.step(logits, x, 0.8, 0.5, row_generators(seed), get_policy(sampler))

    assert torch.equal(step("ddim", 0), step("ddim", 1))
    assert not torch.equal(step("ddpm", 0), step("ddpm", 1))
    assert not torch.equal(step("ddim:0.3", 0), step("ddim:0.3", 1))


@pytest.mark.parametrize("sampler", ["ancestral", "ddpm", "ddim", "ddim:0.5"])
def test_a_step_keeps_the_marginal(sampler: str) -> None:
    """From q(x_t | x_0) with the right token known, a step of any eta gives q(x_s | x_0)."""
    rows, t, s = 40_000, 0.7, 0.4
    x0 = torch.full((1, rows), 1)
    x_t = PROCESS.corrupt(x0, torch.full(x0.shape, t), row_generators("x_t"))
    certain = torch.full((1, rows, V), -torch.inf, dtype=torch.float64)
    certain[..., 1] = 0
    x_s = PROCESS.step(certain, x_t, t, s, row_generators("step", sampler), get_policy(sampler))
    noisy, estimate = x_s[0, :, :E], x_s[0, :, E:]
    torch.testing.assert_close(estimate, CLEAN[1].expand(rows, E))
    power = float(PROCESS.power(torch.tensor(s)))
    torch.testing.assert_close(noisy.mean(0), math.sqrt(power) * CLEAN[1], atol=0.03, rtol=0)
    variance = torch.full((E,), 1 - power, dtype=torch.float64)
    torch.testing.assert_close(noisy.var(0), variance, atol=0.03, rtol=0)


def test_the_estimate_is_the_mean_embedding() -> None:
    x_t, t = start_state(), torch.full((1, N), 0.6)
    logits = torch.randn(1, N, V, generator=make_generator("logits"), dtype=torch.float64)
    state = PROCESS.with_self_conditioning(logits, x_t, t)
    posterior = torch.softmax(logits + PROCESS.log_likelihood(x_t, t), dim=-1)
    torch.testing.assert_close(state, torch.cat([x_t[..., :E], posterior @ CLEAN], dim=-1))


@pytest.mark.parametrize("sampler", ["ancestral", "ddpm", "ddim"])
def test_a_step_remembers_the_mean_and_ends_at_tokens(sampler: str) -> None:
    """The estimate is the mean under p(x_0 | x_t), whatever the step heads for; at 0 a token stands in both places."""
    x_t, t, size = start_state(), torch.full((1, N), 0.7, dtype=torch.float64), V - 1
    x_t = torch.cat([x_t[..., :E] + CLEAN[1], x_t[..., E:]], dim=-1)
    logits = torch.randn(1, N, size, generator=make_generator("logits"), dtype=torch.float64)
    posterior = torch.softmax(logits + PROCESS.log_likelihood(x_t, t)[..., :size], dim=-1)  # of fewer ids
    x_s = PROCESS.step(logits, x_t, 0.7, 0.4, row_generators("step"), get_policy(sampler))
    torch.testing.assert_close(x_s[..., E:], posterior @ CLEAN[:size])
    for seed in range(20):
        x_0 = PROCESS.step(logits, x_t, 0.7, 0.0, row_generators(seed), get_policy(sampler))
        ids = PROCESS.decode(x_0)
        assert int(ids.max()) < size
        torch.testing.assert_close(x_0, CLEAN[ids].repeat(1, 1, 2))


def test_the_likelihood_is_exact_under_autocast() -> None:
    process, time = GaussianProcess().with_embeddings(TABLE.float()), torch.full((1, 3), 0.1)
    x_t = process.corrupt(torch.tensor([[0, 1, 2]]), time, row_generators("x"))
    exact = process.log_likelihood(x_t, time)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(process.log_likelihood(x_t, time), exact)


def test_known_tokens_never_change_and_ids_come_back() -> None:
    ids = torch.randint(0, V, (50, N), generator=make_generator("ids"))
    free = torch.rand(50, N, generator=make_generator("free")) < 0.5
    texts = sample(GaussianOracle(), PROCESS, ids, free, "ddim", 4, temperature=0.5)
    assert bool((texts[~free] == ids[~free]).all())
    clean = PROCESS.corrupt(DATA.texts, torch.zeros(DATA.texts.shape), row_generators("clean"))
    assert torch.equal(PROCESS.decode(clean), DATA.texts)


def test_a_process_without_embeddings_says_so() -> None:
    with pytest.raises(AssertionError, match="needs with_embeddings"):
        GaussianProcess().corrupt(DATA.texts, torch.ones(DATA.texts.shape), row_generators("x"))


@pytest.mark.slow
def test_training_keeps_the_embeddings_apart(tmp_path: Path) -> None:
    """If learned embeddings collapsed, noise would hide nothing and the loss would vanish."""
    trainer = Trainer(config(tmp_path, process="gaussian", context_length=96, max_steps=40))

    def spread() -> float:
        tokens = normalized_embeddings(trainer.model.token_embedding)
        assert torch.allclose(tokens.pow(2).mean(-1), torch.ones(len(tokens)), atol=1e-4)
        cosines = (tokens @ tokens.T / tokens.shape[1]).fill_diagonal_(0)
        return float(cosines.pow(2).mean())

    before, losses = spread(), []
    for _ in range(40):
        losses.append(float(trainer.train_step()[0].cross_entropy))
    assert spread() < before + 0.1  # collapsed tokens would have squared cosines near 1
    assert sum(losses[-8:]) / 8 < sum(losses[:8]) / 8
    assert not trainer.validate().proven
