"""Uniform and mixed noise against independent truth: direct sums, Bayes' rule, enumeration over a tiny vocabulary."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sunfish.config import ProcessConfig
from sunfish.config.sampling import SamplingSettings
from sunfish.processes.masked import MaskedProcess
from sunfish.processes.mixed import MixedProcess
from sunfish.processes.schedules import SCHEDULES, get_schedule
from sunfish.rng import Streams, generator_of
from sunfish.sampling.block_diffusion import generate
from sunfish.sampling.unmasking import EXACT
from sunfish.types import Condition

V, N = 3, 3
TABLE = torch.zeros(V + 1, 1)
TEXTS = torch.tensor(list(itertools.product(range(V), repeat=N)))
STATES = torch.tensor(list(itertools.product(range(V + 1), repeat=N)))  # V is the mask
SHARES = (1.0, 0.3)  # of random tokens in the noise: uniform, mixed
NO_PROMPT = Condition(
    torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, dtype=torch.bool)
)


def streams(*name: object) -> Streams:
    return Streams([generator_of(*map(str, name))])


def process(share: float, name: str = "log-linear") -> MixedProcess:
    return MixedProcess(get_schedule(name), share)


def data() -> torch.Tensor:
    """A fixed, correlated distribution over all texts."""
    return torch.softmax(torch.randn(V**N, generator=generator_of("data"), dtype=torch.float64) * 1.5, 0)


def kernel(alpha: float, share: float) -> torch.Tensor:
    """q(x_t = j | x_s = k) as a matrix [k, j] over the tokens and the mask, where alpha is the share that stays."""
    noise = torch.tensor([share / V] * V + [1 - share], dtype=torch.float64)
    return alpha * torch.eye(V + 1, dtype=torch.float64) + (1 - alpha) * noise


class Oracle:
    """p(x_0^n | all other positions of x_t): the perfect denoiser of this process. Alpha is 1 - t."""

    table = TABLE

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, x, t, cond, past=None, start=0, block_length=0):
        probabilities = torch.empty(*x.shape, V, dtype=torch.float64)
        for time in t.unique().tolist():  # all open positions of a row share their time
            q = kernel(1 - time, self.share)
            evidence = q[TEXTS[:, None, :], x[None, :, :]]  # [V^N, B, N]
            for n in range(N):
                others = evidence[:, :, [m for m in range(N) if m != n]].prod(-1) * data()[:, None]
                one_hot = torch.nn.functional.one_hot(TEXTS[:, n], V).double()
                result = torch.einsum("kb,kv->bv", others, one_hot)
                rows = t[:, n] == time
                probabilities[rows, n] = (result / result.sum(-1, keepdim=True))[rows]
        return probabilities.log()

    def remember(self, ids, cond, past=None):
        raise AssertionError("one block needs no memory")


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_corruption_matches_its_distribution(name: str, share: float) -> None:
    p = process(share, name)
    x0 = torch.arange(V).repeat(1, 20_000)
    for time in (0.0, 0.4, 1.0):
        x_t = p.corrupt(x0, torch.full(x0.shape, time), TABLE, streams("corrupt", time))
        alpha = float(p.schedule.alpha(torch.tensor(time, dtype=torch.float64)))
        for k in range(V):
            counts = torch.bincount(x_t[x0 == k], minlength=V + 1).double()
            expected = 20_000 * kernel(alpha, share)[k]
            seen = expected > 0
            assert not counts[~seen].any()
            chi_square = float(((counts - expected)[seen] ** 2 / expected[seen]).sum())
            assert chi_square < 21  # 3 degrees of freedom, 99.99 %


@pytest.mark.parametrize("share", SHARES)
def test_the_loss_is_the_direct_sum_over_rates(share: float) -> None:
    """beta * pi_i * sum over j of the divergence of Poisson rates, the definition, one term at a time."""
    p = process(share, "cosine")
    logits = torch.randn(40, V, generator=generator_of("logits"), dtype=torch.float64)
    x0 = torch.randint(V, (40,), generator=generator_of("x0"))
    x_t = torch.randint(V + (share < 1), (40,), generator=generator_of("xt"))
    t = torch.rand(40, generator=generator_of("t"), dtype=torch.float64) * 0.9 + 0.05
    losses = p.loss(logits, x0, x_t, t)
    for n in range(40):
        alpha = float(p.schedule.alpha(t[n]))
        beta = -float(p.schedule.derivative(t[n])) / alpha
        theta = torch.softmax(logits[n], 0)
        i, total, q = int(x_t[n]), 0.0, kernel(alpha, share)
        for j in range(V + (share < 1)):
            if j != i:
                truth = float(q[x0[n], j] / q[x0[n], i])
                mixed = theta @ q[:V]
                model = float(mixed[j] / mixed[i])
                total += model - truth + truth * math.log(truth / model)
        assert float(losses[n]) == pytest.approx(beta * float(kernel(0, share)[0, i]) * total, rel=1e-9)
        assert total >= 0
    assert not p.loss(logits, x0, x_t, torch.zeros(40, dtype=torch.float64)).any()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_bound_of_one_token_is_its_exact_likelihood(name: str, share: float) -> None:
    """One position has no others, so the perfect prediction is the prior, at every time; integrated numerically."""
    p, prior = process(share, name), torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    t = (torch.arange(4_000, dtype=torch.float64) + 0.5) / 4_000
    for x0 in range(V):
        total = torch.zeros_like(t)
        for x_t in range(V + (share < 1)):
            same = torch.full(t.shape, x_t)
            chance = torch.stack([kernel(float(a), share)[x0, x_t] for a in p.schedule.alpha(t)])
            total += chance * p.loss(prior.log().expand(len(t), V), torch.full(t.shape, x0), same, t)
        assert float(total.mean()) == pytest.approx(-math.log(prior[x0]), abs=2e-3)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("blur", [1.0, 0.6])
def test_the_bound_is_the_entropy_for_the_oracle_and_more_for_a_worse_one(blur: float, share: float) -> None:
    p, states = process(share), TEXTS if share == 1 else STATES
    times = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    total = 0.0
    for time in times.tolist():
        t = torch.full(states.shape, time, dtype=torch.float64)
        logits = Oracle(share)(states, t, NO_PROMPT) * blur  # of each possible x_t
        chance = kernel(1 - time, share)[TEXTS[:, None], states[None]].prod(-1)  # q(x_t | x_0), [x0, x_t]
        for number, x0 in enumerate(TEXTS):
            losses = p.loss(logits, x0.expand(states.shape), states, t).sum(-1)
            total += float(data()[number] * (chance[number] * losses).sum()) / len(times)
    entropy = -float((data() * data().log()).sum())
    if blur == 1:
        assert total == pytest.approx(entropy, abs=0.01)
    else:
        assert total > entropy + 0.02


@pytest.mark.parametrize("share", SHARES)
def test_what_the_others_say_and_the_evidence_make_the_posterior(share: float) -> None:
    """p(x_0^n | x_t), by enumeration with the evidence of every position."""
    time, states = 0.3, TEXTS if share == 1 else STATES
    evidence = kernel(1 - time, share)[TEXTS[:, None], states[None]].prod(-1) * data()[:, None]
    one_hot = torch.nn.functional.one_hot(TEXTS, V).double()
    posterior = torch.einsum("kb,knv->bnv", evidence, one_hot) / evidence.sum(0)[:, None, None]
    t = torch.full(states.shape, time, dtype=torch.float64)
    logits = Oracle(share)(states, t, NO_PROMPT) + process(share).evidence(states, t, TABLE)
    torch.testing.assert_close(logits.softmax(-1), posterior, atol=1e-9, rtol=0)


@pytest.mark.parametrize("share", SHARES)
def test_the_reverse_step_is_bayes_rule(share: float) -> None:
    """For a single position with a known prior: p(x_s | x_t) from the joint distribution of x_0, x_s, x_t."""
    p, prior = process(share), torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    t, s, rows = 0.8, 0.35, 60_000
    marginal = prior @ kernel(1 - s, share)[:V]  # p(x_s)
    onward = kernel((1 - t) / (1 - s), share)  # q(x_t | x_s)
    for x_t in range(V + (share < 1)):
        expected = marginal * onward[:, x_t]
        expected = rows * expected / expected.sum()
        state = torch.full((1, rows), x_t)
        x_s = p.step(prior.log().expand(1, rows, V), state, t, s, TABLE, streams("step", x_t), EXACT)
        counts = torch.bincount(x_s[0], minlength=V + 1).double()
        possible = expected > 0
        assert not counts[~possible].any()
        assert float(((counts - expected) ** 2 / expected)[possible].sum()) < 21


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("steps,good", [(150, True), (2, False)])
def test_the_sampler_reproduces_the_data(steps: int, good: bool, share: float) -> None:
    """Small steps are exact with the oracle; two big ones are not, and the test sees it."""
    rows = 4000
    given, free = torch.zeros(rows, N, dtype=torch.long), torch.ones(rows, N, dtype=torch.bool)
    settings = SamplingSettings(num_steps=steps, block_length=0, sampler="ancestral", temperature=1.0)
    rng = streams("sample", steps)
    blocks = generate(Oracle(share), process(share), NO_PROMPT, given, free, rng, settings)
    ids = torch.cat(list(blocks), dim=1)
    counts = torch.bincount((ids * torch.tensor([9, 3, 1])).sum(-1), minlength=V**N).double()
    expected = rows * data()
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert (chi_square < 60) == good  # 26 degrees of freedom, 99.99 %: 60


@pytest.mark.parametrize("share", SHARES)
def test_one_position_is_exact_at_any_number_of_steps(share: float) -> None:
    p, prior = process(share), torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)

    class Prior(Oracle):
        def __call__(self, x, t, cond, past=None, start=0, block_length=0):
            return prior.log().expand(*x.shape, V)

    for steps in (1, 3):
        given, free = torch.zeros(20_000, 1, dtype=torch.long), torch.ones(20_000, 1, dtype=torch.bool)
        settings = SamplingSettings(num_steps=steps, block_length=0, sampler="ancestral", temperature=1.0)
        ids = next(generate(Prior(share), p, NO_PROMPT, given, free, streams("one", steps), settings))
        counts, expected = torch.bincount(ids[:, 0], minlength=V).double(), 20_000 * prior
        assert float(((counts - expected) ** 2 / expected).sum()) < 19


@pytest.mark.parametrize("share", SHARES)
def test_known_tokens_never_change_and_spare_ids_are_never_written(share: float) -> None:
    given = torch.randint(0, V, (50, N), generator=generator_of("given"))
    free = torch.rand(50, N, generator=generator_of("free")) < 0.5

    class Narrow(Oracle):
        def __call__(self, *values):
            return super().__call__(*values)[..., : V - 1]

    settings = SamplingSettings(num_steps=5, block_length=0, sampler="ancestral")
    ids = next(generate(Narrow(share), process(share), NO_PROMPT, given, free, streams("known"), settings))
    assert bool((ids[~free] == given[~free]).all())
    assert int(ids[free].max()) < V - 1


def test_a_sampler_that_needs_masks_is_refused() -> None:
    given, free = torch.zeros(1, N, dtype=torch.long), torch.ones(1, N, dtype=torch.bool)
    settings = SamplingSettings(sampler="confidence", block_length=0)
    with pytest.raises(ValueError, match=r"'confidence'.*process are: ancestral"):
        next(generate(Oracle(1.0), process(1.0), NO_PROMPT, given, free, streams("no"), settings))


def test_hardly_any_random_tokens_is_masked_diffusion() -> None:
    """At a vanishing share of random tokens the loss of a masked position is that of the masked process."""
    logits = torch.randn(60, V, generator=generator_of("logits"), dtype=torch.float64)
    x0 = torch.randint(V, (60,), generator=generator_of("x0"))
    x_t = torch.where(torch.arange(60) % 2 == 0, V, x0)
    t = torch.rand(60, generator=generator_of("t"), dtype=torch.float64) * 0.9 + 0.05
    expected = MaskedProcess(get_schedule("cosine")).loss(logits, x0, x_t, t)
    assert torch.allclose(process(1e-9, "cosine").loss(logits, x0, x_t, t), expected, atol=1e-6)


@pytest.mark.parametrize("name,share", [("mixed", 0.0), ("mixed", 1.5), ("uniform", 0.5)])
def test_a_bad_share_is_refused(name: str, share: float) -> None:
    with pytest.raises(ValueError, match=rf"uniform_share is {share}"):
        ProcessConfig(process=name, uniform_share=share)
