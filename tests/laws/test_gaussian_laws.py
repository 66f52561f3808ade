"""The gaussian process against independent truth: moments, enumeration, determinism, the spread of embeddings."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from sunfish.config.presets import preset
from sunfish.config.sampling import SamplingSettings
from sunfish.processes.gaussian import GaussianProcess, embeddings
from sunfish.processes.schedules import SCHEDULES, get_schedule
from sunfish.rng import Streams, generator_of
from sunfish.sampling.block_diffusion import generate
from sunfish.sampling.unmasking import get_sampler
from sunfish.training.trainer import Trainer
from sunfish.types import Condition

V, N, E = 3, 2, 4
TABLE = torch.randn(V + 1, E, generator=generator_of("table"), dtype=torch.float64)
TEXTS = torch.tensor(list(itertools.product(range(V), repeat=N)))
NO_PROMPT = Condition(
    torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1), torch.ones(1, 1, dtype=torch.bool)
)


def streams(*name: object) -> Streams:
    return Streams([generator_of(*map(str, name))])


def process(name: str = "log-linear") -> GaussianProcess:
    return GaussianProcess(get_schedule(name))


def data() -> torch.Tensor:
    return torch.softmax(torch.randn(V**N, generator=generator_of("data"), dtype=torch.float64), 0)


class Oracle:
    """p(x_0^n | the other positions of x_t), of all texts with the normal density of each other noisy embedding."""

    table = TABLE

    def __call__(self, x, t, cond, past=None, start=0, block_length=0):
        noisy = x[..., :E]
        power = process().power(t, E)[..., None]  # [B, N, 1]
        clean = embeddings(TABLE)
        distance = (noisy[:, :, None] - power[..., None].sqrt() * clean).pow(2).sum(-1)  # [B, N, V]
        log_density = -distance / (2 * (1 - power).clamp(min=1e-9))
        each = torch.stack([log_density[:, n, TEXTS[:, n]] for n in range(N)])  # [N, B, V^N]
        joint = data().log() + each.sum(0) - each
        one_hot = torch.nn.functional.one_hot(TEXTS, V).double()
        return torch.einsum("nbk,knv->bnv", torch.softmax(joint, -1), one_hot).log()

    def remember(self, ids, cond, past=None):
        raise AssertionError("one block needs no memory")


@pytest.mark.parametrize("name", SCHEDULES)
def test_corruption_has_the_moments_it_should(name: str) -> None:
    p = process(name)
    x0 = torch.full((1, 40_000), 2)
    clean = embeddings(TABLE)[2]
    assert clean.pow(2).mean() == pytest.approx(1)
    for time in (0.0, 0.3, 0.7, 1.0):
        x_t = p.corrupt(x0, torch.full(x0.shape, time), TABLE, streams("corrupt", time))
        power = float(p.power(torch.tensor(time), E))
        assert not x_t[..., E:].any()
        mean, variance = x_t[0, :, :E].mean(0), x_t[0, :, :E].var(0)
        torch.testing.assert_close(mean, math.sqrt(power) * clean, atol=0.03, rtol=0)
        torch.testing.assert_close(variance, torch.full_like(variance, 1 - power), atol=0.04, rtol=0)
    ends = p.power(torch.tensor([0.0, 1.0]), E)
    torch.testing.assert_close(ends, torch.tensor([1.0, 0.0], dtype=torch.float64))


def test_the_power_follows_its_noise() -> None:
    """a = 1 / (1 + sigma^2) with sigma = 0.5 sqrt(E (1 - alpha) / alpha), and it falls."""
    times = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    sigma = 0.5 * (E * times / (1 - times)).sqrt()
    powers = process().power(times, E)
    torch.testing.assert_close(powers, 1 / (1 + sigma**2))
    assert bool((powers.diff() < 0).all())


@pytest.mark.parametrize(
    "sampler,steps,good",
    [
        ("ddpm", 200, True),
        ("ddim", 200, True),
        ("ddim:0.5", 200, True),
        ("sde", 60, True),
        ("ddim", 1, False),
    ],
)
def test_samplers_reproduce_the_data(sampler: str, steps: int, good: bool) -> None:
    """With the exact posterior; one step draws the tokens independently, which the test must see."""
    rows = 4000
    given, free = torch.zeros(rows, N, dtype=torch.long), torch.ones(rows, N, dtype=torch.bool)
    settings = SamplingSettings(num_steps=steps, block_length=0, sampler=sampler, temperature=1.0)
    blocks = generate(Oracle(), process(), NO_PROMPT, given, free, streams("sample", sampler), settings)
    ids = torch.cat(list(blocks), dim=1)
    counts = torch.bincount((ids * torch.tensor([3, 1])).sum(-1), minlength=V**N).double()
    expected = rows * data()
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert (chi_square < 32) == good  # 8 degrees of freedom, 99.99 %: 32


@pytest.mark.parametrize("sampler,good", [("ancestral", True), ("ddpm", False)])
def test_one_position_is_exact_at_any_number_of_steps_if_tokens_are_drawn(sampler: str, good: bool) -> None:
    prior, rows = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64), 20_000

    class Prior(Oracle):
        def __call__(self, x, t, cond, past=None, start=0, block_length=0):
            return prior.log().expand(*x.shape[:2], V)

    for steps in (2, 5):
        given, free = torch.zeros(rows, 1, dtype=torch.long), torch.ones(rows, 1, dtype=torch.bool)
        settings = SamplingSettings(num_steps=steps, block_length=0, sampler=sampler, temperature=1.0)
        ids = next(generate(Prior(), process(), NO_PROMPT, given, free, streams("one", steps), settings))
        counts, expected = torch.bincount(ids[:, 0], minlength=V).double(), rows * prior
        assert (float(((counts - expected) ** 2 / expected).sum()) < 19) == good


def test_ddim_is_deterministic_and_ddpm_is_not() -> None:
    x = process().corrupt(torch.zeros(1, N, dtype=torch.long), torch.ones(1, N), TABLE, streams("start"))
    logits = torch.randn(1, N, V, generator=generator_of("logits"), dtype=torch.float64)

    def step(sampler: str, seed: int) -> torch.Tensor:
        return process().step(logits, x, 0.8, 0.5, TABLE, streams(seed), get_sampler(sampler))

    assert torch.equal(step("ddim", 0), step("ddim", 1))
    assert not torch.equal(step("ddpm", 0), step("ddpm", 1))
    assert not torch.equal(step("ddim:0.3", 0), step("ddim:0.3", 1))


def test_sde_is_ddpm_at_the_first_two_steps_and_of_second_order_after() -> None:
    """By the closed form of the solver: exp(-h), 1 - exp(-2h), the estimates extrapolated in half the log-SNR."""
    p = process()
    x = p.corrupt(torch.zeros(1, N, dtype=torch.long), torch.ones(1, N), TABLE, streams("start"))
    x[..., E:] = torch.randn(1, N, E, generator=generator_of("estimate"), dtype=torch.float64)
    logits = torch.randn(1, N, V, generator=generator_of("logits"), dtype=torch.float64)

    def step(sampler: str, t: float, s: float) -> torch.Tensor:
        return p.step(logits, x, t, s, TABLE, streams("noise"), get_sampler(sampler))

    assert torch.equal(step("sde", 1.0, 0.8), step("ddpm", 1.0, 0.8))
    assert torch.equal(step("sde", 0.8, 0.6), step("ddpm", 0.8, 0.6))
    before, t, s = 0.8, 0.6, 0.4
    a = [float(p.power(torch.tensor(time, dtype=torch.float64), E)) for time in (before, t, s)]
    lam = [0.5 * math.log(power / (1 - power)) for power in a]
    h, last = lam[2] - lam[1], lam[1] - lam[0]
    clean = p.estimated(logits, x, torch.full((1, N), t), TABLE)[..., E:]
    drift = math.sqrt(a[2]) * (1 - math.exp(-2 * h))
    expected = (
        math.sqrt((1 - a[2]) / (1 - a[1])) * math.exp(-h) * x[..., :E]
        + drift * clean
        + drift * 0.5 * h / last * (clean - x[..., E:])
        + math.sqrt((1 - a[2]) * (1 - math.exp(-2 * h))) * streams("noise").normal(1, N, E)
    )
    torch.testing.assert_close(step("sde", t, s)[..., :E], expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_sde_runs_on_every_grid(name: str) -> None:
    """The second step has the time 1 behind it, where nothing is left; in floating point it may come out below 1."""
    for steps in (9, 12, 20, 25):
        given, free = torch.zeros(1, N, dtype=torch.long), torch.ones(1, N, dtype=torch.bool)
        settings = SamplingSettings(num_steps=steps, block_length=0, sampler="sde")
        ids = next(generate(Oracle(), process(name), NO_PROMPT, given, free, streams("sde", steps), settings))
        assert ids.shape == (1, N)


def test_a_step_keeps_the_marginal() -> None:
    """From q(x_t | x_0) with the right token known, a step of any eta gives q(x_s | x_0)."""
    rows, t, s = 40_000, 0.7, 0.4
    x0 = torch.full((1, rows), 1)
    x_t = process().corrupt(x0, torch.full(x0.shape, t), TABLE, streams("x_t"))
    sure = torch.full((1, rows, V), -torch.inf, dtype=torch.float64)
    sure[..., 1] = 0
    power = float(process().power(torch.tensor(s), E))
    for sampler in ("ancestral", "ddpm", "ddim", "ddim:0.5"):
        x_s = process().step(sure, x_t, t, s, TABLE, streams("step", sampler), get_sampler(sampler))
        noisy, estimate = x_s[0, :, :E], x_s[0, :, E:]
        torch.testing.assert_close(estimate, embeddings(TABLE)[1].expand(rows, E))
        torch.testing.assert_close(noisy.mean(0), math.sqrt(power) * embeddings(TABLE)[1], atol=0.03, rtol=0)
        torch.testing.assert_close(
            noisy.var(0), torch.full((E,), 1 - power, dtype=torch.float64), atol=0.03, rtol=0
        )


def test_known_tokens_never_change_and_ids_come_back() -> None:
    given = torch.randint(0, V, (50, N), generator=generator_of("given"))
    free = torch.rand(50, N, generator=generator_of("free")) < 0.5
    settings = SamplingSettings(num_steps=4, block_length=0, sampler="ddim")
    ids = next(generate(Oracle(), process(), NO_PROMPT, given, free, streams("known"), settings))
    assert bool((ids[~free] == given[~free]).all())
    clean = process().corrupt(TEXTS, torch.zeros(TEXTS.shape), TABLE, streams("clean"))
    assert torch.equal(process().decode(clean, TABLE), TEXTS)


def test_training_keeps_the_embeddings_apart(tmp_path: Path) -> None:
    """The trap of learned embeddings: were they to collapse, noise would hide nothing and the loss would be nothing."""
    config = preset(
        "nano", process="gaussian", n_layer=1, n_head=1, n_embd=16, vocab_size=320, context_length=96, stories=120,
        batch_size=4, threads=1, precision="float32", max_minutes=0.0, max_steps=40, name="g",
        checkpoints=str(tmp_path / "ck"), data_folder=str(tmp_path / "data"),
    )  # fmt: skip
    trainer = Trainer(config)
    assert config.model.time_input and config.model.vector_input

    def spread() -> float:
        tokens = embeddings(trainer.model.table)
        assert torch.allclose(tokens.pow(2).mean(-1), torch.ones(len(tokens)), atol=1e-4)
        cosines = (tokens @ tokens.T / tokens.shape[1]).fill_diagonal_(0)
        return float(cosines.pow(2).mean())

    before, losses = spread(), []
    for _ in range(40):
        losses.append(float(trainer.train_step()[0].cross_entropy))
    assert spread() < before + 0.1  # collapsed tokens would have squared cosines near 1
    assert sum(losses[-8:]) / 8 < sum(losses[:8]) / 8
    assert not trainer.validate().proven
