"""Uniform and mixed noise against independent truth: direct sums, Bayes' rule, enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from sunfish.config import ProcessConfig
from sunfish.model.kv_cache import KVCache
from sunfish.processes.masked import MaskedProcess
from sunfish.processes.mixed import MixedProcess
from sunfish.rng import make_generator
from sunfish.sampling.unmasking.ancestral import EXACT
from sunfish.types import Condition, Start, State
from tests.helpers import NO_PROMPT, row_generators
from tests.laws.enumeration import Constant, Enumeration, Oracle, chi_square, sample, sample_whole

V, N = 3, 3
DATA = Enumeration.of(V, N)
STATES = torch.tensor(list(itertools.product(range(V + 1), repeat=N)))  # V is the mask
PRIOR = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
EVERY_SHARE = pytest.mark.parametrize("share", [1.0, 0.3])  # of random tokens in the noise: uniform, mixed


def process(share: float) -> MixedProcess:
    return MixedProcess(V, uniform_share=share)


def states(share: float) -> Tensor:
    """Every state that the noise can make."""
    return DATA.texts if share == 1 else STATES


def kernel(alpha: float, share: float) -> Tensor:
    """q(x_t = j | x_s = k) as a matrix [k, j] over tokens and mask; alpha is the share that stays."""
    noise = torch.tensor([share / V] * V + [1 - share], dtype=torch.float64)
    return alpha * torch.eye(V + 1, dtype=torch.float64) + (1 - alpha) * noise


class MixedOracle(Oracle):
    """p(x_0^n | all other positions of x_t): the perfect denoiser of this process. Alpha is 1 - t."""

    def __init__(self, share: float) -> None:
        self.share = share

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        probabilities = torch.empty(*x.shape, V, dtype=torch.float64)
        for time in t.unique().tolist():  # all free positions of a row share their time
            likelihood = kernel(1 - time, self.share)[DATA.texts[:, None, :], x[None, :, :]]  # [V^N, B, N]
            for n in range(N):
                others = likelihood[:, :, [m for m in range(N) if m != n]].prod(-1)
                joint = others * DATA.probabilities[:, None]
                result = torch.einsum("kb,kv->bv", joint, DATA.one_hot[:, n])
                rows = t[:, n] == time
                probabilities[rows, n] = (result / result.sum(-1, keepdim=True))[rows]
        return probabilities.log()


@EVERY_SHARE
def test_corruption_matches_its_distribution(share: float) -> None:
    x0 = torch.arange(V).repeat(1, 20_000)
    for time in (0.0, 0.4, 1.0):
        x_t = process(share).corrupt(x0, torch.full(x0.shape, time), row_generators("corrupt", time))
        for k in range(V):
            counts = torch.bincount(x_t[x0 == k], minlength=V + 1).double()
            expected = 20_000 * kernel(1 - time, share)[k]
            assert chi_square(counts, expected) < 21  # 3 degrees of freedom, 99.99%


@EVERY_SHARE
def test_the_loss_is_the_direct_sum_over_rates(share: float) -> None:
    """beta * pi_i * sum over j of the divergence of Poisson rates, the definition, one term at a time."""
    logits = torch.randn(40, V, generator=make_generator("logits"), dtype=torch.float64)
    x0 = torch.randint(V, (40,), generator=make_generator("x0"))
    x_t = torch.randint(V + (share < 1), (40,), generator=make_generator("xt"))
    t = torch.rand(40, generator=make_generator("t"), dtype=torch.float64) * 0.9 + 0.05
    losses = process(share).loss(logits, x0, x_t, t)
    for n, time in enumerate(t.tolist()):
        alpha, beta = 1 - time, 1 / (1 - time)
        theta = torch.softmax(logits[n], 0)
        i, total, q = int(x_t[n]), 0.0, kernel(alpha, share)
        for j in range(V + (share < 1)):
            if j != i:
                truth = float(q[x0[n], j] / q[x0[n], i])
                mixture = theta @ q[:V]
                predicted = float(mixture[j] / mixture[i])
                total += predicted - truth + truth * math.log(truth / predicted)
        assert float(losses[n]) == pytest.approx(beta * float(kernel(0, share)[0, i]) * total, rel=1e-9)
        assert total >= 0
    assert not process(share).loss(logits, x0, x_t, torch.zeros(40, dtype=torch.float64)).any()
    rough = process(share).loss(logits.bfloat16(), x0, x_t, t.float())  # summed in float32
    torch.testing.assert_close(rough, process(share).loss(logits.bfloat16().float(), x0, x_t, t.float()))


@EVERY_SHARE
def test_the_bound_of_one_token_is_its_exact_likelihood(share: float) -> None:
    """One position has no others, so the perfect prediction is the prior at every time."""
    t = (torch.arange(4_000, dtype=torch.float64) + 0.5) / 4_000
    kernels = torch.stack([kernel(1 - time, share) for time in t.tolist()])
    for x0 in range(V):
        total = torch.zeros_like(t)
        for x_t in range(V + (share < 1)):
            clean, noisy = torch.full(t.shape, x0), torch.full(t.shape, x_t)
            losses = process(share).loss(PRIOR.log().expand(len(t), V), clean, noisy, t)
            total += kernels[:, x0, x_t] * losses
        assert float(total.mean()) == pytest.approx(-math.log(PRIOR[x0]), abs=2e-3)


@EVERY_SHARE
@pytest.mark.parametrize("blur", [1.0, 0.6])
def test_the_bound_is_the_entropy_for_the_oracle_and_more_for_a_worse_one(blur: float, share: float) -> None:
    possible, total = states(share), 0.0
    every_pair = (len(DATA.texts), *possible.shape)  # of a text and a state
    x0, x_t = DATA.texts[:, None].expand(every_pair), possible.expand(every_pair)
    for time in ((torch.arange(100) + 0.5) / 100).tolist():
        t = torch.full(every_pair, time, dtype=torch.float64)
        logits = MixedOracle(share).denoise(possible, t[0], NO_PROMPT) * blur
        chance = kernel(1 - time, share)[x0, x_t].prod(-1)  # q(x_t | x_0)
        losses = process(share).loss(logits.expand(*every_pair, V), x0, x_t, t).sum(-1)
        total += float((DATA.probabilities[:, None] * chance * losses).sum()) / 100
    if blur == 1:
        assert total == pytest.approx(DATA.entropy, abs=0.01)
    else:
        assert total > DATA.entropy + 0.02


@EVERY_SHARE
def test_what_the_others_say_and_the_likelihood_make_the_posterior(share: float) -> None:
    """p(x_0^n | x_t), by enumeration with the likelihood of every position."""
    time, possible = 0.3, states(share)
    joint = kernel(1 - time, share)[DATA.texts[:, None], possible[None]].prod(-1)
    joint = joint * DATA.probabilities[:, None]
    posterior = torch.einsum("kb,knv->bnv", joint, DATA.one_hot) / joint.sum(0)[:, None, None]
    t = torch.full(possible.shape, time, dtype=torch.float64)
    logits = MixedOracle(share).denoise(possible, t, NO_PROMPT)
    logits = logits + process(share).log_likelihood(possible, t)
    torch.testing.assert_close(logits.softmax(-1), posterior, atol=1e-9, rtol=0)


@EVERY_SHARE
@pytest.mark.parametrize("time", [1e-6, 0.3, 0.95])
def test_the_likelihood_is_that_of_the_kernel(time: float, share: float) -> None:
    """log q(x_t | x_0 = v) of each state by itself, up to what all v share."""
    x_t = torch.arange(V + (share < 1))
    actual = process(share).log_likelihood(x_t, torch.full(x_t.shape, time, dtype=torch.float64))
    expected = kernel(1 - time, share)[:V, x_t].T.log()
    difference = actual - expected
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference))


@EVERY_SHARE
def test_the_reverse_step_is_bayes_rule(share: float) -> None:
    """For a single position with a known prior: p(x_s | x_t) from the joint distribution of x_0, x_s, x_t."""
    t, s, rows = 0.8, 0.35, 60_000
    marginal = PRIOR @ kernel(1 - s, share)[:V]  # p(x_s)
    forward = kernel((1 - t) / (1 - s), share)  # q(x_t | x_s)
    for x_t in range(V + (share < 1)):
        expected = marginal * forward[:, x_t]
        logits, state = PRIOR.log().expand(1, rows, V), torch.full((1, rows), x_t)
        x_s = process(share).step(logits, state, t, s, row_generators("step", x_t), EXACT)
        counts = torch.bincount(x_s[0], minlength=V + 1).double()
        assert chi_square(counts, rows * expected / expected.sum()) < 21


@EVERY_SHARE
@pytest.mark.parametrize("steps,exact", [pytest.param(150, True, marks=pytest.mark.slow), (2, False)])
def test_the_sampler_reproduces_the_data(steps: int, exact: bool, share: float) -> None:
    """Small steps are exact with the oracle; two big ones are not, and the test sees it."""
    ids = sample_whole(MixedOracle(share), process(share), 4000, N, "ancestral", steps)
    assert (DATA.chi_square(ids) < 60) == exact  # 26 degrees of freedom, 99.99%


@EVERY_SHARE
@pytest.mark.parametrize("steps", [1, 3])
def test_one_position_is_exact_at_any_number_of_steps(steps: int, share: float) -> None:
    ids = sample_whole(Constant(PRIOR.log()), process(share), 20_000, 1, "ancestral", steps)
    assert chi_square(torch.bincount(ids[:, 0], minlength=V), 20_000 * PRIOR) < 19


@EVERY_SHARE
def test_known_tokens_never_change_and_spare_ids_are_never_written(share: float) -> None:
    ids = torch.randint(0, V, (50, N), generator=make_generator("ids"))
    free = torch.rand(50, N, generator=make_generator("free")) < 0.5

    class Narrow(MixedOracle):
        def denoise(self, *args, **kwargs):
            # Finite, as a network's logits are: known tokens may be evidence that the oracle's data rule out.
            return super().denoise(*args, **kwargs)[..., : V - 1].nan_to_num(nan=0, neginf=-50)

    texts = sample(Narrow(share), process(share), ids, free, "ancestral", 5, temperature=0.5)
    assert bool((texts[~free] == ids[~free]).all())
    assert int(texts[free].max()) < V - 1


def test_a_policy_that_needs_masks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'confidence'.*process are: ancestral"):
        sample_whole(MixedOracle(1.0), process(1.0), 1, N, "confidence", 4)


def test_hardly_any_random_tokens_is_masked_diffusion() -> None:
    """At a vanishing share of random tokens the loss of a masked position is that of the masked process."""
    logits = torch.randn(60, V, generator=make_generator("logits"), dtype=torch.float64)
    x0 = torch.randint(V, (60,), generator=make_generator("x0"))
    x_t = torch.where(torch.arange(60) % 2 == 0, V, x0)
    t = torch.rand(60, generator=make_generator("t"), dtype=torch.float64) * 0.9 + 0.05
    expected = MaskedProcess(V).loss(logits, x0, x_t, t)
    torch.testing.assert_close(process(1e-9).loss(logits, x0, x_t, t), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name,share", [("mixed", 0.0), ("mixed", 1.5), ("uniform", 0.5)])
def test_a_share_that_cannot_be_is_refused(name: str, share: float) -> None:
    with pytest.raises(ValueError, match=rf"uniform_share is {share}"):
        ProcessConfig(process=name, uniform_share=share)
