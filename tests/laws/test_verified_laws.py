"""Self-verified writing against enumeration: exactly the autoregressive distribution, whatever the draft."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sunfish.config.sampling import SamplingSettings
from sunfish.processes.masked import MaskedProcess
from sunfish.processes.schedules import get_schedule
from sunfish.rng import Streams, draw, generator_of, softmax
from sunfish.sampling import speculative as verified
from sunfish.sampling.guidance import Guided
from sunfish.sampling.logits import sharpen
from sunfish.sampling.speculative import judge, verified_snapshots
from sunfish.types import Condition, Draft

V, N = 3, 5  # the first position is the start mark
PROCESS = MaskedProcess(get_schedule("log-linear"))
PROMPT = Condition(torch.zeros(1, 1, 1, 2, 1), torch.zeros(1, 1, 1, 2, 1), torch.ones(1, 2, dtype=torch.bool))


class Tables:
    """Next-token and canvas logits drawn once for each prefix, with and without the prompt; memory is the ids."""

    table = torch.zeros(V + 1, 1)

    def __init__(self, apart: bool = False) -> None:
        self.apart = apart
        self.known: dict[tuple[object, ...], torch.Tensor] = {}
        self.passes = 0

    def logits(self, *key: object) -> torch.Tensor:
        if key not in self.known:
            self.known[key] = 1.5 * torch.randn(
                V, generator=generator_of(*map(str, key)), dtype=torch.float64
            )
        return self.known[key]

    def draft(self, x, t, cond, past, start):
        assert bool((x[:, 0] < V).all()) and bool((x[:, 1:] == V).all())  # the newest token, then masks
        assert not t[:, 0].any() and bool((t[:, 1:] == 1).all())
        self.passes += 1
        return self._draft(
            "apart",
            [[*self._text(past, start, row), int(x[row, 0])] for row in range(len(x))],
            cond,
            x.shape[1] - 1,
        )

    def read_and_draft(self, ids, cond, past, start, states, t):
        self.passes += not self.apart  # else the canvas has its own pass, which is counted there
        width = t.shape[1] // ids.shape[1]
        assert states.shape == t.shape == (len(ids), width * ids.shape[1])
        assert bool((states == V).all()) and bool((t == 1).all())
        known = [self._text(past, start, row) for row in range(len(ids))]

        def behind(at):
            return self._draft(
                "ahead",
                [[*text, *new[: i + 1]] for text, new, i in zip(known, ids.tolist(), at, strict=True)],
                cond,
                width - 1,
            )

        return *self.remember(ids, cond, past, start), None if self.apart else behind

    def _text(self, past, start, row):
        """The ids that ``row`` remembers; what lies behind its start belongs to longer rows."""
        text = [] if past is None else past[0, 0, row, 0, :, 0].int().tolist()
        assert isinstance(start, torch.Tensor) or len(text) == start
        return text[: int(start[row])] if isinstance(start, torch.Tensor) else text

    def _draft(self, kind, texts, cond, count):
        """Logits that differ for each text, place, and token before."""
        rows = [(kind, visible, *text) for visible, text in zip(cond.mask[:, 1].tolist(), texts, strict=True)]

        def told(before):
            return torch.stack([
                torch.stack([self.logits(*row, "told", i, last) for i, last in enumerate(own)])
                for row, own in zip(rows, before.tolist(), strict=True)
            ])  # fmt: skip

        alone = [torch.stack([self.logits(*row, "alone", i) for i in range(count)]) for row in rows]
        return Draft(torch.stack(alone), told)

    def remember(self, ids, cond, past=None, start=None):
        grown = ids.double()[None, None, :, None, :, None]
        grown = grown if past is None else torch.cat([past, grown], dim=4)
        remembered = grown.shape[4] - ids.shape[1]
        rows = []
        for row in range(len(ids)):
            known = int(start[row]) if isinstance(start, torch.Tensor) else remembered
            text = grown[0, 0, row, 0, :known, 0].int().tolist() + ids[row].tolist()
            visible = bool(cond.mask[row, 1])
            rows.append([self.logits("next", visible, *text[: i + 1]) for i in range(known, len(text))])
        return grown, torch.stack([torch.stack(row) for row in rows])


def autoregressive(guided: Guided, settings: SamplingSettings) -> torch.Tensor:
    """The probability of every text of N - 1 tokens after the start mark, by enumeration."""
    texts = torch.tensor(list(itertools.product(range(V), repeat=N - 1)))
    probabilities = []
    for text in texts:
        ids = torch.cat([torch.zeros(1, dtype=torch.long), text])[None]
        _, logits = guided.remember(ids[:, :-1], PROMPT)
        chosen = torch.log_softmax(sharpen(logits, settings), -1).gather(-1, ids[:, 1:, None])
        probabilities.append(math.exp(float(chosen.sum())))
    return torch.tensor(probabilities, dtype=torch.float64)


@pytest.mark.parametrize(
    "sampler,rows,block_length,scale,plausibility,temperature,top_p",
    [
        ("verified", 1, 1, 1.0, 0.0, 1.0, 1.0),
        ("verified", 1, 2, 1.0, 0.0, 1.0, 1.0),
        ("verified", 1, 4, 2.0, 0.0, 0.8, 1.0),
        ("verified", 1, 3, 0.0, 0.0, 0.5, 0.7),
        ("verified", 25, 4, 2.0, 0.0, 0.8, 1.0),
        ("verified:1", 1, 2, 1.0, 0.0, 1.0, 1.0),
        ("verified:1", 1, 9, 1.5, 0.3, 1.0, 1.0),
        ("verified:1", 25, 3, 1.5, 0.3, 1.0, 1.0),
        ("decoder", 1, 3, 1.0, 0.0, 1.0, 1.0),
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
    tables = Tables(apart=sampler == "decoder")
    guided = Guided(tables, scale, plausibility)
    settings = SamplingSettings(
        block_length=block_length,
        sampler="verified:1" if sampler == "decoder" else sampler,
        temperature=temperature,
        top_p=top_p,
    )
    expected = autoregressive(guided, settings)
    assert expected.sum() == pytest.approx(1, abs=1e-9)
    runs, rng = (
        1500,
        Streams([generator_of("verified", block_length, str(scale), row) for row in range(rows)]),
    )
    counts = torch.zeros(V ** (N - 1), dtype=torch.float64)
    start = torch.zeros(rows, 1, dtype=torch.long)
    prompts = Condition(PROMPT.keys, PROMPT.values, PROMPT.mask.expand(rows, -1))
    for _ in range(runs // rows):
        rounds = verified_snapshots(guided, PROCESS, prompts, start, N, rng, settings)
        ids = torch.cat([round_.x for round_ in rounds if round_.done], dim=1)
        counts += torch.bincount((ids * torch.tensor([27, 9, 3, 1])).sum(1), minlength=len(counts))
    # Rare texts together, so that every expected count is at least 5.
    order = expected.argsort(descending=True)
    common = order[expected[order] * runs >= 5]
    rest = order[expected[order] * runs < 5]
    seen = torch.cat([counts[common], counts[rest].sum()[None]])
    wanted = torch.cat([expected[common], expected[rest].sum()[None]]) * runs
    keep = wanted > 0
    chi_square = float(((seen - wanted)[keep] ** 2 / wanted[keep]).sum())
    freedom = max(1, int(keep.sum()) - 1)
    assert float(seen[~keep].sum()) == 0
    assert chi_square < freedom + 4.5 * math.sqrt(2 * freedom) + 5
    # The drafts differ from the target (else the test would show nothing), and still save passes.
    if block_length > 1 and rows == 1:
        assert runs < tables.passes < runs * (N - 1)
    if block_length == 1:
        assert tables.passes == 0


def test_a_perfect_draft_is_always_accepted_and_an_impossible_one_never() -> None:
    rng = Streams([generator_of("judge")])
    target = torch.softmax(torch.randn(1, 4, V, generator=generator_of("p"), dtype=torch.float64), -1)
    draft = torch.tensor([[0, 2, 1]])
    for _ in range(50):
        tokens, counts = judge(draft, target[:, :3], target, rng)
        assert counts.tolist() == [4] and tokens[0, :3].tolist() == [0, 2, 1]
    impossible = target.clone()
    impossible[0, 0] = torch.tensor([0.0, 1.0, 0.0])
    for _ in range(50):
        tokens, counts = judge(draft, target[:, :3], impossible, rng)
        assert counts.tolist() == [1] and tokens[0, 0] == 1


@pytest.mark.parametrize("told", [0, 1, 2, 4])
def test_a_draft_that_is_told_often_enough_knows_the_likeliest_tokens_one_after_the_other(
    told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "TOLD", told)
    count, settings, wrong = 4, SamplingSettings(temperature=0.7), 0
    for seed in range(100):
        draft = Tables()._draft("apart", [[0, seed]], PROMPT, count)
        rng, again = (Streams([generator_of("told", seed)]) for _ in range(2))
        tokens, probabilities = verified._written_down(draft, torch.tensor([[1]]), settings, rng)
        assert torch.equal(tokens, draw(probabilities, again.uniform(1, count)))
        last, expected = torch.tensor([1]), []
        for i in range(count):
            logits = draft.told(last.expand(1, count))[:, i] if told else draft.alone[:, i]
            expected.append(softmax(sharpen(logits, settings)))
            last = logits.argmax(-1)
        # As many places are right as there were times; the others by luck.
        right = [bool(torch.equal(probabilities[:, i], expected[i])) for i in range(count)]
        assert all(right[: told or count])
        wrong += not all(right)
    assert (wrong == 0) == (told in (0, 4))


def test_lenience_accepts_more_and_keeps_what_it_promises() -> None:
    """Leviathan et al. 2023, appendix A.5: out = min(q, p / l) + what is left times max(0, p - l q), normalised."""
    p = torch.tensor([0.0, 0.1, 0.2, 0.7], dtype=torch.float64)
    q = torch.tensor([0.2, 0.4, 0.3, 0.1], dtype=torch.float64)
    rows = 40_000
    rng = Streams([generator_of("lenience")])
    draft = torch.multinomial(q.expand(rows, -1), 1, generator=generator_of("drafts"))
    shares = {}
    for lenience in (1.0, 0.5, 0.2):
        kept = torch.minimum(q, p / lenience)
        rest = (p - lenience * q).clamp(min=0)
        expected = kept + (1 - kept.sum()) * rest / rest.sum()
        tokens, counts = judge(draft, q.expand(rows, 1, -1), p.expand(rows, 2, -1), rng, lenience)
        seen = torch.bincount(tokens[:, 0], minlength=4) / rows
        shares[lenience] = float((counts == 2).double().mean())
        torch.testing.assert_close(seen.double(), expected, atol=0.012, rtol=0)
        assert shares[lenience] == pytest.approx(float(kept.sum()), abs=0.012)
        assert seen[0] == 0 and bool((expected <= p / lenience + 1e-12).all())
        if lenience == 1:
            torch.testing.assert_close(expected, p)
    assert shares[1.0] + 0.15 < shares[0.5] < shares[0.2] - 0.05


def test_lenient_texts_come_in_fewer_rounds() -> None:
    passes = {}
    for lenience in (1.0, 0.2):
        tables = Tables()
        settings = SamplingSettings(block_length=4, temperature=1.0, lenience=lenience)
        for seed in range(60):
            rng, start = Streams([generator_of("lenient", seed)]), torch.zeros(1, 1, dtype=torch.long)
            list(verified_snapshots(Guided(tables, 1.0), PROCESS, PROMPT, start, N, rng, settings))
        passes[lenience] = tables.passes
    assert passes[0.2] < 0.9 * passes[1.0]


def test_nothing_is_written_behind_the_end() -> None:
    tables = Tables()
    settings = SamplingSettings(block_length=4, sampler="verified", temperature=1.0)
    start = torch.zeros(1, 1, dtype=torch.long)
    for seed in range(100):
        rng = Streams([generator_of("end", seed)])
        rounds = verified_snapshots(Guided(tables, 1.0), PROCESS, PROMPT, start, N, rng, settings, end=2)
        ids = torch.cat([round_.x for round_ in rounds if round_.done], dim=1)[0].tolist()
        assert len(ids) <= N - 1 and 2 not in ids[:-1]
        assert len(ids) == N - 1 or ids[-1] == 2
