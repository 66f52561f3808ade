"""Speculative decoding against enumeration: exactly the autoregressive distribution, whatever the draft."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.processes.masked import MaskedProcess
from sunfish.rng import RowGenerators, gumbel_noise, make_generator, softmax
from sunfish.sampling.guidance import ClassifierFreeGuidance
from sunfish.sampling.logits import warp_logits
from sunfish.sampling.speculative import sample_draft, speculative_accept, speculative_decoding
from sunfish.types import Condition
from tests.helpers import finished, row_generators
from tests.laws.enumeration import chi_square
from tests.laws.table_denoiser import PROMPT, N, TableDenoiser, V, autoregressive

PROCESS = MaskedProcess(V)


def rare_together(values: Tensor, expected: Tensor) -> Tensor:
    """``values`` of each text, those of rare texts as one, so that every expected count is at least 5."""
    common = expected >= 5
    return torch.cat([values[common], values[~common].sum()[None]])


@pytest.mark.parametrize(
    "sampler,rows,block_length,scale,plausibility,temperature,top_p",
    [
        pytest.param("verified", 1, 1, 1.0, 0.0, 1.0, 1.0, marks=pytest.mark.slow),
        pytest.param("verified", 1, 2, 1.0, 0.0, 1.0, 1.0, marks=pytest.mark.slow),
        pytest.param("verified", 1, 4, 2.0, 0.0, 0.8, 1.0, marks=pytest.mark.slow),
        pytest.param("verified", 1, 3, 0.0, 0.0, 0.5, 0.7, marks=pytest.mark.slow),
        pytest.param("verified", 100, 4, 2.0, 0.0, 0.8, 1.0, marks=pytest.mark.slow),
        pytest.param("verified:1", 1, 2, 1.0, 0.0, 1.0, 1.0, marks=pytest.mark.slow),
        pytest.param("verified:1", 1, 9, 1.5, 0.3, 1.0, 1.0, marks=pytest.mark.slow),
        ("verified:1", 100, 3, 1.5, 0.3, 1.0, 1.0),
    ],
)
def test_the_distribution_is_the_autoregressive_one(
    sampler: str,
    rows: int,
    block_length: int,
    scale: float,
    plausibility: float,
    temperature: float,
    top_p: float,
) -> None:
    config = GenerationConfig(
        block_length=block_length, sampler=sampler, temperature=temperature, top_p=top_p
    )
    check_distribution(config, scale, plausibility, rows)


@pytest.mark.parametrize(
    "sampler,rows,block_length,scale,changed",
    [
        ("verified", 100, 4, 1.0, {"repetition_penalty": 2.0}),
        ("verified", 100, 1, 2.0, {"repetition_penalty": 0.6, "min_p": 0.3}),
        ("verified:1", 100, 3, 1.0, {"repetition_penalty": 3.0, "temperature": 0.8, "top_k": 2}),
    ],
)
def test_what_is_repeated_or_cut_is_so_token_by_token(
    sampler: str, rows: int, block_length: int, scale: float, changed: dict[str, float]
) -> None:
    """The penalty of a place is for the tokens before it, the drafted ones among them."""
    settings = {"temperature": 1.0, "block_length": block_length, "sampler": sampler, **changed}
    check_distribution(GenerationConfig(**settings), scale, 0.0, rows)


@pytest.mark.parametrize("sampler", ["verified", "verified:1"])
@pytest.mark.parametrize("candidates", [1, 2])
def test_ids_that_no_draft_can_have_are_as_likely_as_ever(
    monkeypatch: pytest.MonkeyPatch, candidates: int, sampler: str
) -> None:
    monkeypatch.setattr("sunfish.sampling.speculative.NUM_CANDIDATES", candidates)
    config = GenerationConfig(block_length=4, sampler=sampler, temperature=1.0)
    check_distribution(config, 2.0, 0.3, 100)


def test_the_penalty_changes_the_distribution() -> None:
    """It would hide above if texts of three tokens hardly repeated any."""
    guided = ClassifierFreeGuidance(TableDenoiser(), 1.0)
    plain, penalized = (
        autoregressive(guided, GenerationConfig(temperature=1.0, repetition_penalty=penalty))
        for penalty in (1.0, 2.0)
    )
    assert float((plain - penalized).abs().sum()) / 2 > 0.1


def prompts_of(rows: int) -> Condition:
    """The same prompt for each row."""
    return Condition(PROMPT.keys, PROMPT.values, PROMPT.mask.expand(rows, -1))


def check_distribution(config: GenerationConfig, scale: float, plausibility: float, rows: int) -> None:
    """1,000 texts, ``rows`` at a time, have the autoregressive distribution."""
    tables = TableDenoiser()
    guided = ClassifierFreeGuidance(tables, scale, plausibility)
    expected = autoregressive(guided, config)
    assert expected.sum() == pytest.approx(1, abs=1e-9)
    block_length = config.block_length
    generators = [make_generator("verified", block_length, str(scale), row) for row in range(rows)]
    runs, rng = 1000, RowGenerators(generators)
    counts = torch.zeros_like(expected)
    start = torch.zeros(rows, 1, dtype=torch.long)
    prompts = prompts_of(rows)
    for _ in range(runs // rows):
        ids = finished(speculative_decoding(guided, PROCESS, prompts, start, N, rng, config))
        counts += torch.bincount((ids * torch.tensor([27, 9, 3, 1])).sum(1), minlength=len(counts))
    observed, wanted = (rare_together(part, runs * expected) for part in (counts, runs * expected))
    freedom = max(1, int((wanted > 0).sum()) - 1)
    assert chi_square(observed, wanted) < freedom + 4.5 * math.sqrt(2 * freedom) + 5
    # The drafts differ from the target (else the test would show nothing), and still save passes.
    if block_length > 1 and rows == 1:
        assert runs < tables.draft_passes < runs * (N - 1)
    if block_length == 1:
        assert tables.draft_passes == 0


def test_a_perfect_draft_is_always_accepted_and_an_impossible_one_never() -> None:
    rng = row_generators("accept")
    target = torch.softmax(torch.randn(1, 4, V, generator=make_generator("p"), dtype=torch.float64), -1)
    draft = torch.tensor([[0, 2, 1]])
    for _ in range(50):
        tokens, counts = speculative_accept(draft, target[:, :3], target, rng)
        assert counts.tolist() == [4] and tokens[0, :3].tolist() == [0, 2, 1]
    impossible = target.clone()
    impossible[0, 0] = torch.tensor([0.0, 1.0, 0.0])
    for _ in range(50):
        tokens, counts = speculative_accept(draft, target[:, :3], impossible, rng)
        assert counts.tolist() == [1] and tokens[0, 0] == 1


@pytest.mark.parametrize("iterations", [1, 2, 4, 7])
def test_after_n_times_n_places_are_those_drawn_one_after_the_other(iterations: int) -> None:
    """And whatever the others are, each was drawn from what is said of it."""
    count, config, different = 4, GenerationConfig(temperature=0.7), 0
    for seed in range(100):
        draft = TableDenoiser().draft_after("alone", [[0, seed]], PROMPT, count)
        assert draft.conditional_logits is not None
        rng, same = row_generators("draft", seed), row_generators("draft", seed)
        tokens, said = sample_draft(draft, torch.tensor([[1]]), config, rng, iterations=iterations)
        candidates = draft.likely_ids(V, 1).anywhere[:, None].expand(-1, count, -1)
        noise = torch.zeros(1, count, V, dtype=torch.float64)
        noise.scatter_(2, candidates, gumbel_noise(same.uniform(1, count, V)))
        torch.testing.assert_close((said.log() + noise).argmax(-1), tokens)
        last, expected = torch.tensor([1]), []
        for place in range(count):
            logits = draft.conditional_logits(None)(last.expand(1, count))[:, place]
            expected.append(softmax(warp_logits(logits, config.temperature)))
            last = (expected[-1].log() + noise[:, place]).argmax(-1)
        right = [bool(torch.allclose(said[:, i], expected[i])) for i in range(count)]
        assert all(right[:iterations])
        different += not all(right)
    assert (different == 0) == (iterations >= count)


def test_tokens_of_a_draft_have_the_probabilities_that_are_said() -> None:
    """Whether or not none changed the last time: by counts, of drafts of two tokens drawn once and to the end."""
    draft = TableDenoiser().draft_after("alone", [[0, 1]] * 4000, prompts_of(4000), 2)
    for iterations in (1, 7):
        rng, config = row_generators("counts"), GenerationConfig(temperature=0.7)
        tokens, said = sample_draft(
            draft, torch.ones(4000, 1, dtype=torch.long), config, rng, None, iterations
        )
        counts = torch.bincount(tokens[:, 0] * V + tokens[:, 1], minlength=V * V).double()
        pairs = [[float(said[tokens[:, 0] == a][:, 1].mean(0)[b]) for b in range(V)] for a in range(V)]
        expected = 4000 * said[0, 0].double()[:, None] * torch.tensor(pairs, dtype=torch.float64)
        assert chi_square(counts, expected.flatten()) < 8 + 4.5 * 4 + 5


def test_lenience_accepts_more_and_keeps_its_bound() -> None:
    """Leviathan et al. 2023, appendix A.5: min(q, p / l), and the rest from max(0, p - l q), normalized."""
    p = torch.tensor([0.0, 0.1, 0.2, 0.7], dtype=torch.float64)
    q = torch.tensor([0.2, 0.4, 0.3, 0.1], dtype=torch.float64)
    rows, rng, shares = 40_000, row_generators("lenience"), {}
    draft = torch.multinomial(q.expand(rows, -1), 1, generator=make_generator("drafts"))
    for lenience in (1.0, 0.5, 0.2):
        accepted = torch.minimum(q, p / lenience)
        residual = (p - lenience * q).clamp(min=0)
        expected = accepted + (1 - accepted.sum()) * residual / residual.sum()
        target = p.expand(rows, 2, -1)
        tokens, counts = speculative_accept(draft, q.expand(rows, 1, -1), target, rng, lenience)
        observed = torch.bincount(tokens[:, 0], minlength=4) / rows
        shares[lenience] = float((counts == 2).double().mean())
        torch.testing.assert_close(observed.double(), expected, atol=0.012, rtol=0)
        assert shares[lenience] == pytest.approx(float(accepted.sum()), abs=0.012)
        assert observed[0] == 0 and bool((expected <= p / lenience + 1e-12).all())
        if lenience == 1:
            torch.testing.assert_close(expected, p)
    assert shares[1.0] + 0.15 < shares[0.5] < shares[0.2] - 0.05


START = torch.zeros(1, 1, dtype=torch.long)


def test_lenient_texts_take_fewer_rounds() -> None:
    passes = {}
    for lenience in (1.0, 0.2):
        tables = TableDenoiser()
        config = GenerationConfig(block_length=4, temperature=1.0, lenience=lenience)
        guided = ClassifierFreeGuidance(tables, 1.0)
        for seed in range(60):
            rng = row_generators("lenient", seed)
            list(speculative_decoding(guided, PROCESS, PROMPT, START, N, rng, config))
        passes[lenience] = tables.draft_passes
    assert passes[0.2] < 0.9 * passes[1.0]


@pytest.mark.parametrize("sampler", ["verified", "verified:1"])
def test_nothing_is_written_after_the_end(sampler: str) -> None:
    guided = ClassifierFreeGuidance(TableDenoiser(), 1.0)
    config = GenerationConfig(block_length=4, sampler=sampler, temperature=1.0)
    ended = 0
    for seed in range(100):
        rng = row_generators("end", seed)
        rounds = speculative_decoding(guided, PROCESS, PROMPT, START, N, rng, config, end=2)
        ids = finished(rounds)[0].tolist()
        assert len(ids) <= N - 1 and 2 not in ids[:-1]
        assert len(ids) == N - 1 or ids[-1] == 2
        ended += ids[-1] == 2
    assert 0 < ended < 100
