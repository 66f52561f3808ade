"""The masked process against independent truth: closed forms and full enumeration over a tiny vocabulary."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sunfish.config.sampling import SamplingSettings
from sunfish.processes.masked import MaskedProcess
from sunfish.processes.schedules import SCHEDULES, get_schedule, stratified_times, time_grid
from sunfish.rng import Streams, draw_categorical, generator_of
from sunfish.sampling.block_diffusion import generate
from sunfish.sampling.unmasking import get_sampler
from sunfish.training.loss import exact_counts
from sunfish.types import Condition, Proposal

V, N = 3, 4
MASK = V
TABLE = torch.zeros(V + 1, 1)
NO_PROMPT = Condition(
    torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, dtype=torch.bool)
)


def streams(*name: object) -> Streams:
    return Streams([generator_of(*map(str, name))])


def data_distribution() -> torch.Tensor:
    """A fixed, correlated distribution over all V ** N texts, float64."""
    return torch.softmax(torch.randn(V**N, generator=generator_of("data"), dtype=torch.float64) * 1.5, 0)


TEXTS = torch.tensor(list(itertools.product(range(V), repeat=N)))


class Oracle:
    """The exact posterior p(x_0^i | visible tokens) of ``data_distribution``: the perfect masked denoiser."""

    table = TABLE

    def __call__(self, x, t, cond, past=None, start=0, block_length=0):
        p = data_distribution()
        fits = ((x[:, None] == MASK) | (x[:, None] == TEXTS[None])).all(-1)  # [B, V^N]
        weight = fits * p
        one_hot = torch.nn.functional.one_hot(TEXTS, V).double()  # [V^N, N, V]
        posterior = torch.einsum("bk,knv->bnv", weight, one_hot)
        return torch.log(posterior / posterior.sum(-1, keepdim=True))

    def remember(self, ids, cond, past=None):
        raise AssertionError("one block needs no memory")


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_ends_and_derivative(name: str) -> None:
    schedule = get_schedule(name)
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    assert schedule.alpha(torch.tensor(0.0, dtype=torch.float64)) == pytest.approx(1, abs=1e-12)
    assert schedule.alpha(torch.tensor(1.0, dtype=torch.float64)) == pytest.approx(0, abs=1e-12)
    numeric = (schedule.alpha(t + 1e-6) - schedule.alpha(t - 1e-6)) / 2e-6
    torch.testing.assert_close(schedule.derivative(t), numeric, atol=1e-6, rtol=1e-6)
    assert bool((schedule.derivative(t) < 0).all())


def test_unknown_schedule_is_named() -> None:
    with pytest.raises(ValueError, match=r"'sqrt'.*log-linear"):
        get_schedule("sqrt")


@pytest.mark.parametrize("name", SCHEDULES)
def test_corruption_matches_its_distribution(name: str) -> None:
    process = MaskedProcess(get_schedule(name))
    x0 = torch.arange(V).repeat(1, 20_000)
    for time in (0.0, 0.3, 0.8, 1.0):
        x_t = process.corrupt(x0, torch.full(x0.shape, time), TABLE, streams("corrupt", time))
        masked = x_t == MASK
        assert bool((x_t[~masked] == x0[~masked]).all())
        expected = 1 - float(process.schedule.alpha(torch.tensor(time, dtype=torch.float64)))
        deviation = math.sqrt(max(expected * (1 - expected), 1e-12) / x0.numel())
        assert abs(masked.double().mean().item() - expected) <= 4.5 * deviation
    assert not bool((process.corrupt(x0, torch.zeros(x0.shape), TABLE, streams(0)) == MASK).any())
    assert bool((process.corrupt(x0, torch.ones(x0.shape), TABLE, streams(1)) == MASK).all())


def expected_bound(process: MaskedProcess, denoiser: Oracle, x0: torch.Tensor) -> float:
    """The bound of one text in closed form: the sum over all mask patterns, integrated over time exactly.

    For alpha = 1 - t a pattern with m of N masked has weight int t^(m-1) (1-t)^(N-m) dt = B(m, N - m + 1).
    """
    total = 0.0
    for pattern in itertools.product([False, True], repeat=N):
        mask = torch.tensor([pattern])
        m = int(mask.sum())
        if m == 0:
            continue
        x_t = torch.where(mask, MASK, x0)
        half = torch.full(x0.shape, 0.5, dtype=torch.float64)
        loss = (
            process.loss(denoiser(x_t, half, NO_PROMPT), x0, x_t, half).sum().item() / 2.0
        )  # weight 1/t = 2
        total += loss * math.gamma(m) * math.gamma(N - m + 1) / math.gamma(N + 1)
    return total


def test_bound_is_tight_for_the_exact_posterior_and_never_below() -> None:
    """Enumeration: with the perfect denoiser the bound's mean over the data is the entropy, exactly; with a
    worse denoiser, the bound of no distribution lies below it."""
    process = MaskedProcess(get_schedule("log-linear"))
    p = data_distribution()
    bounds = torch.tensor(
        [expected_bound(process, Oracle(), text[None]) for text in TEXTS], dtype=torch.float64
    )
    entropy = -(p * p.log()).sum()
    assert (p * bounds).sum().item() == pytest.approx(entropy.item(), abs=1e-9)
    # The masked bound averages the chain rule over all orders: tight for every single text, not only on average.
    torch.testing.assert_close(bounds, -p.log(), atol=1e-9, rtol=0)

    class Blurred(Oracle):
        def __call__(self, *args, **kwargs):
            return torch.log_softmax(super().__call__(*args, **kwargs).clamp(min=-50) * 0.5, -1)

    worse = torch.tensor(
        [expected_bound(process, Blurred(), text[None]) for text in TEXTS], dtype=torch.float64
    )
    assert (p * worse).sum() > entropy + 0.01


@pytest.mark.parametrize("name", SCHEDULES)
def test_monte_carlo_bound_meets_the_likelihood(name: str) -> None:
    """The bound does not depend on the schedule: sampled times and masks give the exact likelihood as well."""
    process = MaskedProcess(get_schedule(name))
    text = TEXTS[17:18]
    rows = 60_000
    x0 = text.expand(rows, N)
    t = stratified_times(rows, 1, generator_of("times")).double().expand(rows, N)
    x_t = process.corrupt(x0, t, TABLE, streams("monte carlo", name))
    losses = process.loss(Oracle()(x_t, t, NO_PROMPT), x0, x_t, t).sum(-1)
    exact = -data_distribution()[17].log().item()
    assert losses.mean().item() == pytest.approx(exact, abs=4.5 * losses.std().item() / math.sqrt(rows))


def written(sampler: str, steps: int, rows: int = 4000) -> torch.Tensor:
    """Texts of the exact denoiser ``[rows, N]``, all positions in one block, drawn without sharpening."""
    given, free = torch.zeros(rows, N, dtype=torch.long), torch.ones(rows, N, dtype=torch.bool)
    settings = SamplingSettings(num_steps=steps, block_length=0, sampler=sampler, temperature=1.0)
    process = MaskedProcess(get_schedule("log-linear"))
    rng = streams("sample", sampler, steps)
    return torch.cat(list(generate(Oracle(), process, NO_PROMPT, given, free, rng, settings)), dim=1)


def chi_square(ids: torch.Tensor) -> float:
    """Against the data distribution; 80 degrees of freedom: the 99.99 % quantile is 135."""
    counts = torch.bincount((ids * torch.tensor([27, 9, 3, 1])).sum(-1), minlength=V**N).double()
    expected = len(ids) * data_distribution()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(
    "sampler,steps",
    [
        ("ancestral", 64),  # two of four tokens sometimes fall together
        ("ancestral", 400),
        ("first-hitting", 4),
        ("leftmost", 4),
        ("prefix:1", 4),
        ("entropy:0", 4),
        ("remask:0.02", 400),  # each token is reopened several times
    ],
)
def test_exact_samplers_reproduce_the_data(sampler: str, steps: int) -> None:
    """One token a step is exact in any order that does not look at the drawn value; many small steps nearly so."""
    assert chi_square(written(sampler, steps)) < 135


@pytest.mark.parametrize("sampler", ["ancestral", "entropy:10", "prefix:0", "threshold:0"])
def test_all_at_once_is_wrong_and_the_test_above_would_see_it(sampler: str) -> None:
    assert chi_square(written(sampler, 1 if sampler == "ancestral" else 4)) > 300


def test_reopened_tokens_are_drawn_again() -> None:
    """Starting from committed tokens, remasking at its largest rate forgets them."""
    process, sampler = MaskedProcess(get_schedule("log-linear")), get_sampler("remask:1")
    x = torch.zeros(1, 4000, dtype=torch.long)
    x_s = process.step(torch.zeros(1, 4000, V), x, 0.6, 0.5, TABLE, streams("reopen"), sampler)
    # sigma = min(1, (1 - alpha_s) / alpha_t) = 0.5 / 0.4, so all of them
    assert bool((x_s == MASK).all())
    half = process.step(torch.zeros(1, 4000, V), x, 0.4, 0.3, TABLE, streams("reopen"), sampler)
    assert float((half == MASK).double().mean()) == pytest.approx(0.5, abs=0.04)  # 0.3 / 0.6


def proposal(probabilities: list[float], still_open: list[bool]) -> Proposal:
    """One row of binary tokens, each drawn with the given probability, at time 0.5 of 1."""
    p = torch.tensor([probabilities], dtype=torch.float64)
    logits = torch.stack([p, 1 - p], -1).log()
    return Proposal(logits, p, torch.tensor([still_open]), 0.4, 0.6, streams("none"))


@pytest.mark.parametrize(
    "sampler,expected",
    [
        ("threshold:0.9", [1, 0, 0, 1, 0]),
        ("threshold:1", [1, 0, 0, 0, 0]),  # none is sure enough, so the surest
        ("prefix:0.5", [1, 1, 0, 0, 0]),  # 0.99, 0.594, then below
        ("prefix:1", [1, 0, 0, 0, 0]),
        ("entropy:0", [1, 0, 0, 0, 0]),
        ("entropy:0.06", [1, 0, 0, 1, 0]),  # entropies 0.056 (0.99), 0.199 (0.95), 0.673 (0.6)
        ("entropy:0.26", [1, 1, 0, 1, 0]),
        ("leftmost", [1, 1, 0, 0, 0]),  # ceil(4 open / 3)
        ("confidence", [1, 0, 0, 1, 0]),
    ],
)
def test_what_each_sampler_commits(sampler: str, expected: list[int]) -> None:
    seen = proposal([0.99, 0.6, 0.55, 0.95, 1.0], [True, True, True, True, False])
    chosen = get_sampler(sampler).commit(seen) & seen.open
    assert chosen.int().tolist() == [expected]


@pytest.mark.parametrize(
    "name,message",
    [
        ("sure", "'sure'; the samplers are: ancestral"),
        ("leftmost:2", "leftmost takes no number"),
        ("threshold:1.5", "a number from 0 to 1, such as threshold:0.9"),
        ("entropy:x", "a number from 0 to inf, such as entropy:0.1"),
    ],
)
def test_wrong_samplers_are_named(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_sampler(name)


@pytest.mark.parametrize("sampler", MaskedProcess.samplers)
def test_known_tokens_never_change(sampler: str) -> None:
    given = torch.randint(0, V, (50, N), generator=generator_of("given"))
    free = torch.rand(50, N, generator=generator_of("free")) < 0.5
    process = MaskedProcess(get_schedule("cosine"))
    settings = SamplingSettings(num_steps=3, block_length=0, sampler=sampler)
    ids = torch.cat(
        list(generate(Oracle(), process, NO_PROMPT, given, free, streams("known"), settings)), dim=1
    )
    assert bool((ids[~free] == given[~free]).all())
    assert int(ids.max()) < V


def test_categorical_draws_have_full_entropy() -> None:
    """float64 inversion neither truncates the tail nor sharpens: chi-square against the exact distribution."""
    logits = torch.linspace(0, -9, 12).expand(200_000, 12)
    ids, probability = draw_categorical(logits, streams("draw").uniform(200_000))
    p = torch.softmax(logits[0].double(), 0)
    counts = torch.bincount(ids, minlength=12).double()
    assert (
        (counts - 200_000 * p) ** 2 / (200_000 * p)
    ).sum().item() < 40  # 11 degrees of freedom, 99.99 %: 37
    torch.testing.assert_close(probability, p[ids].float())


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.full((10_000, 5), -torch.inf)
    logits[:, 2] = 0.0
    assert bool((draw_categorical(logits, streams("never").uniform(10_000))[0] == 2).all())


def test_time_grid_and_strata() -> None:
    assert time_grid(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    with pytest.raises(ValueError, match="num_steps is 0"):
        time_grid(0)
    times = stratified_times(8, 16, generator_of("strata"))
    assert float(times.min()) > 0 and float(times.max()) <= 1
    assert sorted(torch.ceil(times.flatten().double() * 128).long().tolist()) == list(range(1, 129))


@pytest.mark.parametrize("block_length", [0, 2, 3])
def test_exact_counts(block_length: int) -> None:
    """Each block has exactly ceil(t n) masks, known positions never, all positions equally often."""
    rows, length = 6000, 5
    block = block_length or length
    t = stratified_times(rows, -(-length // block), generator_of("t", block_length))
    t = t.repeat_interleave(block, dim=1)[:, :length].clone()
    t[:, 0] = 0
    chosen, share = exact_counts(t, block_length, generator_of("counts", block_length))
    for start in range(0, length, block):
        part = slice(max(1, start), min(start + block, length))
        n = part.stop - part.start
        masked = chosen[:, part].sum(1)
        torch.testing.assert_close(masked, torch.ceil(t[:, part.start] * n - 1e-6))
        torch.testing.assert_close(share[:, part], (masked / n)[:, None].expand(-1, n))
        often = chosen[:, part].mean(0)
        assert float((often - often.mean()).abs().max()) < 0.04
    assert not chosen[:, 0].any() and not share[:, 0].any()


def test_exact_counts_give_the_same_bound() -> None:
    """The oracle's bound of one text: its exact negative log-likelihood, with less variance than independent masks."""
    process, rows = MaskedProcess(get_schedule("log-linear")), 20_000
    x0 = TEXTS[17:18].expand(rows, N)
    t = stratified_times(rows, 1, generator_of("times")).double().expand(rows, N)
    chosen, share = exact_counts(t, 0, generator_of("counts"))
    x_t = process.corrupt(x0, chosen, TABLE, streams("exact"))
    losses = process.loss(Oracle()(x_t, share, NO_PROMPT), x0, x_t, share).sum(-1)
    exact = -data_distribution()[17].log().item()
    assert losses.mean().item() == pytest.approx(exact, abs=4.5 * losses.std().item() / math.sqrt(rows))
    x_t = process.corrupt(x0, t, TABLE, streams("independent"))
    independent = process.loss(Oracle()(x_t, t, NO_PROMPT), x0, x_t, t).sum(-1)
    assert losses.std() < 0.8 * independent.std()
