"""Posterior infilling against enumeration: unbiased weights for every fill, and draws with the exact posterior."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sunfish.config import GenerationConfig, ProcessConfig
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.rng import RowGenerators
from sunfish.sampling import particles, posterior
from sunfish.sampling.causal_mode import CausalMode
from sunfish.sampling.guidance import ClassifierFreeGuidance
from sunfish.sampling.particles import Gap, Particles
from sunfish.sampling.posterior import GapFiller
from sunfish.types import Condition
from sunfish.utils import UsageError
from tests.helpers import CONFIG, END, model
from tests.laws.enumeration import chi_square

TINY = replace(CONFIG, vocab_size=7, n_layer=1, n_embd=8)
WORDS = range(1, TINY.vocab_size)
SHORT = range(1, 3)
Fills = tuple[tuple[int, ...], ...]


class Case(NamedTuple):
    """A text with gaps, and how they are filled."""

    gaps: list[Gap]
    left: tuple[int, ...] = (END, 3, 1)
    temperature: float = 1.0
    scale: float = 1.0
    penalty: float = 1.0


CASES = {
    "middle": Case([Gap(SHORT, (), [2, 5, END])]),
    "beginning": Case([Gap(SHORT, (), [2, 5, END])], left=(END,)),
    "end": Case([Gap(SHORT, (), [END])]),
    "one length": Case([Gap(range(2, 3), (), [4, END])]),
    "everything": Case([Gap(SHORT, (), [END])], left=(END,)),
    "two": Case([Gap(SHORT, (), [2]), Gap(range(1, 2), (), [4, END])]),
    "adjacent": Case([Gap(range(1, 2), (), []), Gap(SHORT, (), [2, END])]),
    "first ids": Case([Gap(SHORT, (2, 4), [5, END])]),
    # After this text no fill of weight is so rare that 80 seeds miss it.
    "first ids twice": Case([Gap(range(1, 2), (1, 5), [2]), Gap(SHORT, (3, 6), [END])], left=(END, 1)),
    "cold": Case([Gap(SHORT, (3, 1, 6), [2, END])], temperature=0.6),
    "warm": Case([Gap(SHORT, (), [2, END])], temperature=1.5),
    "guided": Case([Gap(SHORT, (), [2, END])], scale=2.0),
    "guided first ids": Case([Gap(SHORT, (2, 4), [5, END])], scale=2.0),
    "penalized": Case([Gap(SHORT, (), [2, 5, END])], penalty=3.0),
    "penalized twice": Case([Gap(SHORT, (2, 4), [2]), Gap(SHORT, (), [4, END])], penalty=2.0),
    "guided and cold": Case(
        [Gap(range(1, 2), (), [2]), Gap(SHORT, (), [4, END])], temperature=0.8, scale=2.0
    ),
}


@pytest.fixture(scope="module")
def network() -> Transformer:
    return model(config=TINY)


@pytest.fixture(scope="module")
def condition(network: Transformer) -> Condition:
    with torch.no_grad():
        return network.encode(torch.tensor([[4, 2, 6]]), torch.ones(1, 3, dtype=torch.bool))


def run(
    network: Transformer,
    condition: Condition,
    case: Case,
    seed: int,
    num_particles: int,
    sought: Sequence[int] = (),
) -> Particles:
    config = GenerationConfig(
        temperature=case.temperature, guidance_scale=case.scale, repetition_penalty=case.penalty
    )
    process = build_process(ProcessConfig(process="masked"), TINY.vocab_size)
    mode = CausalMode(ClassifierFreeGuidance(network, case.scale), process, condition, config)
    filler = GapFiller(mode, END, RowGenerators.for_rows(seed, 0, 1), num_particles, sought)
    return filler.fill(list(case.left), case.gaps)


@torch.no_grad()
def enumerate_fills(network: Transformer, condition: Condition, case: Case) -> dict[Fills, float]:
    """The weight of every fill: a pass over each text as a whole, its tokens taken one by one."""
    parts = [[fill for n in gap.lengths for fill in itertools.product(WORDS, repeat=n)] for gap in case.gaps]
    fills = [
        choice
        for choice in itertools.product(*parts)
        if all(
            not gap.first_ids or fill[0] in gap.first_ids for gap, fill in zip(case.gaps, choice, strict=True)
        )
    ]
    texts = [
        [*case.left, *(i for gap, fill in zip(case.gaps, choice, strict=True) for i in (*fill, *gap.right))]
        for choice in fills
    ]
    width = max(map(len, texts))
    ids = torch.tensor([text + [END] * (width - len(text)) for text in texts])
    plain = network.prefill(ids, condition.repeat(len(ids)))[0]
    without = network.prefill(ids, condition.without_prompts().repeat(len(ids)))[0]
    guided = without + case.scale * (plain - without)
    weights = {}
    for row, choice in enumerate(fills):
        place, weight = len(case.left) - 1, 1.0
        for gap, fill in zip(case.gaps, choice, strict=True):
            for number, token in enumerate(fill):
                logits = guided[row, place].clone()
                for seen in set(texts[row][1 : place + 1]):
                    logits[seen] *= case.penalty ** (1 if logits[seen] < 0 else -1)
                drawn = torch.softmax(logits / case.temperature, -1)
                if gap.first_ids and not number:
                    allowed = list(gap.first_ids)
                    evidence = float(torch.softmax(plain[row, place], -1)[allowed].sum())
                    weight *= evidence ** (1 / case.temperature)
                    drawn = drawn / drawn[allowed].sum()
                weight, place = weight * float(drawn[token]), place + 1
            for token in gap.right:
                likelihood = float(torch.softmax(plain[row, place], -1)[token])
                weight, place = weight * likelihood ** (1 / case.temperature), place + 1
        weights[choice] = weight
    return weights


def totals(weights: dict[Fills, float]) -> Tensor:
    """Of groups of fills: all, each first token of each gap, each length of each gap."""
    gaps = range(len(next(iter(weights))))
    size = TINY.vocab_size + 3
    sums = torch.zeros(1 + len(gaps) * size, dtype=torch.float64)
    for fills, weight in weights.items():
        sums[0] += weight
        for gap in gaps:
            sums[1 + gap * size + fills[gap][0]] += weight
            sums[1 + gap * size + TINY.vocab_size + len(fills[gap])] += weight
    return sums


def weights_of(particles: Particles) -> dict[Fills, float]:
    """Every text once."""
    fills = [tuple(fill) for fill in particles.fills]
    assert len(set(fills)) == len(fills)
    return dict(zip(fills, particles.log_weights.exp().tolist(), strict=True))


def check_unbiased(
    network: Transformer,
    condition: Condition,
    case: Case,
    num_particles: int,
    seeds: int,
    sought: Sequence[int] = (),
) -> None:
    """Of all groups of fills, the mean weight is the exact one but for 4 standard errors."""
    expected = totals(enumerate_fills(network, condition, case))
    particles = [run(network, condition, case, seed, num_particles, sought) for seed in range(seeds)]
    assert all(len(one.fills) <= num_particles for one in particles)
    observed = torch.stack([totals(weights_of(one)) for one in particles])
    error = observed.std(0) / math.sqrt(seeds)
    assert 0 < error[0] < 0.3 * expected[0]  # particles are few enough for chance, and seeds enough to judge
    seen = (observed > 0).sum(0) >= 10  # groups too rare for a standard error are in the total alone
    deviation = (observed.mean(0) - expected).abs() / error.clamp(min=1e-6 * float(expected[0]))
    assert seen[0] and float(deviation[seen].max()) < 4


@pytest.mark.parametrize(
    "name",
    [
        "end",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("beginning", "adjacent", "first ids twice", "cold", "guided", "penalized")
        ),
    ],
)
def test_weights_are_unbiased(network: Transformer, condition: Condition, name: str) -> None:
    check_unbiased(network, condition, CASES[name], 4, 80)


@pytest.mark.parametrize(
    "name", ["first ids", *(pytest.param(name, marks=pytest.mark.slow) for name in ("middle", "two"))]
)
def test_what_decides_where_to_look_has_no_part_in_the_weights(
    network: Transformer, condition: Condition, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Few children, so that others are drawn; wild hints; an id is sought; cuts given up early; fills taken for rare."""
    monkeypatch.setattr(posterior, "NUM_CHILDREN", 3)
    monkeypatch.setattr(posterior, "MAX_LOG_TILT", 2.0)
    monkeypatch.setattr(posterior, "HOPELESS", 1.0)
    monkeypatch.setattr(particles, "FALL", -1.5)
    monkeypatch.setattr(particles, "RARE", 1.0)
    hint = torch.zeros(TINY.vocab_size, dtype=torch.float64)
    hint[[5, 2]] = 0.5
    monkeypatch.setattr(posterior, "hints_of", lambda *_: hint.expand(2, -1))
    monkeypatch.setattr(posterior, "best_log_likelihood", lambda *_: -1.0)
    check_unbiased(network, condition, CASES[name], 3, 60, sought=(4,))


def test_fills_that_have_what_is_sought_are_kept_rather_than_others(
    network: Transformer, condition: Condition
) -> None:
    seldom = 5  # has a twentieth of the posterior

    def share_of(sought: Sequence[int]) -> float:
        fills = [run(network, condition, CASES["middle"], seed, 4, sought).fills for seed in range(20)]
        return sum(seldom in gap for found in fills for (gap,) in found) / sum(map(len, fills))

    assert share_of([seldom]) > 2 * share_of([])


@pytest.mark.parametrize("name", CASES)
def test_enough_particles_are_an_enumeration(network: Transformer, condition: Condition, name: str) -> None:
    """Where nothing is dropped, every fill is there with its exact weight, whatever the seed."""
    exact = enumerate_fills(network, condition, CASES[name])
    found = run(network, condition, CASES[name], 1, 10**300)
    weights = weights_of(found)
    assert weights.keys() == exact.keys() and bool((found.log_kept == 0).all())
    for fills, weight in exact.items():
        assert weights[fills] == pytest.approx(weight, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seeds"), [("warm", 60), ("adjacent", 100)])
def test_draws_have_the_posterior_distribution(
    network: Transformer, condition: Condition, name: str, seeds: int
) -> None:
    exact = enumerate_fills(network, condition, CASES[name])
    counts = Counter[Fills]()
    for seed in range(seeds):
        particles = run(network, condition, CASES[name], seed, 32)
        for uniform in RowGenerators.for_rows(seed, 1, 1).uniform(1, 1)[0].tolist():
            counts[tuple(particles.fills[particles.draw(uniform)])] += 1
    scale = seeds / sum(exact.values())
    common = [fills for fills, weight in exact.items() if scale * weight >= 5]
    assert len(common) > 3
    rare = [fills for fills in exact if fills not in set(common)]
    observed = [counts[fills] for fills in common] + [sum(counts[fills] for fills in rare)]
    expected = [scale * exact[fills] for fills in common] + [scale * sum(exact[fills] for fills in rare)]
    freedom = len(common)
    bound = freedom + 4 * math.sqrt(2 * freedom) + 4
    assert chi_square(torch.tensor(observed).double(), torch.tensor(expected).double()) < bound


def test_two_gaps_depend_on_each_other(network: Transformer, condition: Condition) -> None:
    """The exact posterior is no product of its marginals: filling gaps by themselves would be told apart."""
    exact = enumerate_fills(network, condition, CASES["adjacent"])
    total = sum(exact.values())
    first, second = defaultdict[tuple[int, ...], float](float), defaultdict[tuple[int, ...], float](float)
    for fills, weight in exact.items():
        first[fills[0]] += weight / total
        second[fills[1]] += weight / total
    distance = sum(abs(weight / total - first[a] * second[b]) for (a, b), weight in exact.items()) / 2
    assert distance > 0.05


def test_guidance_and_temperature_change_the_posterior(network: Transformer, condition: Condition) -> None:
    """They would hide in the other tests if they had no effect on a model so small."""

    def distribution(case: Case) -> Tensor:
        weights = torch.tensor(list(enumerate_fills(network, condition, case).values()))
        return weights / weights.sum()

    plain = distribution(CASES["middle"])
    for changed in (CASES["middle"]._replace(scale=2.0), CASES["middle"]._replace(temperature=0.6)):
        assert float((distribution(changed) - plain).abs().sum()) / 2 > 0.05


def test_a_gap_that_nothing_fits_is_named(network: Transformer, condition: Condition) -> None:
    """Two gaps, the second of which can begin with the end mark alone."""
    gaps = [Gap(SHORT, (), [2]), Gap(range(3, 6), (END,), [4, END])]
    with pytest.raises(UsageError, match="fits gap 2, of 3 to 5 tokens; give it other lengths"):
        run(network, condition, Case(gaps), 0, 4)
