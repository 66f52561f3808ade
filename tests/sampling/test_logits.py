"""From logits to what is drawn: the vocabulary mask, repeated tokens, the temperature, the likeliest tokens."""

from __future__ import annotations

import pytest
import torch

from sunfish.rng import make_generator
from sunfish.sampling.logits import VocabularyMask, penalize_repeats, seen_before, seen_ids, warp_logits
from tests.helpers import CONFIG, batch, model

SIZE = CONFIG.vocab_size - 5  # ids of the tokenizer; the model has more rows


@pytest.mark.parametrize("banned_ids", [[], [0, 7]])
def test_spare_and_banned_ids_have_no_probability_in_any_pass(banned_ids: list[int]) -> None:
    m, b = model(), batch()
    condition = m.encode(b.prompt, b.prompt_mask)
    masked = VocabularyMask(m, SIZE, banned_ids)
    ids = b.x0.clamp(max=SIZE - 1)
    x = torch.full((3, 4), CONFIG.vocab_size)
    t = torch.ones(x.shape)
    logits, cache = masked.prefill(ids, condition)
    plain, _ = m.prefill(ids, condition)
    _, _, draft_at = masked.prefill_and_draft(
        ids[:, :2], x.repeat(1, 2), t.repeat(1, 2), condition, cache, 16
    )
    last, previous = torch.ones(3, dtype=torch.long), torch.full((3, 3), 4)
    outputs = [logits, masked.denoise(x, t, condition, cache, 16)]
    for draft in (masked.draft(x, t, condition, cache, 16), draft_at(last)):
        assert draft.conditional_logits is not None
        outputs += [draft.marginal_logits(3), draft.conditional_logits(None)(previous)]
        assert draft.vocab_size == SIZE
        for likely in draft.likely_ids(SIZE - len(banned_ids), 3):
            assert int(likely.max()) < SIZE and not bool(torch.isin(likely, torch.tensor(banned_ids)).any())
        some = torch.tensor([0, 3, 7, 2])
        kept = draft.conditional_logits(some.expand(3, -1))(previous)
        torch.testing.assert_close(kept, outputs[-1][..., some])
    allowed = torch.ones(SIZE, dtype=torch.bool)
    allowed[banned_ids] = False
    for output in outputs:
        assert output.shape[-1] == SIZE
        assert bool((output.isfinite() == allowed).all())
    assert torch.equal(logits[..., allowed], plain[..., :SIZE][..., allowed])


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_nucleus(top_p: float, temperature: float) -> None:
    """Token by token: the likeliest ones are taken until they reach top_p."""
    logits = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    warped = warp_logits(logits, temperature, top_p).softmax(-1)
    for row, result in zip((logits / temperature).softmax(-1).tolist(), warped.tolist(), strict=True):
        kept, total = [], 0.0
        for token in sorted(range(12), key=lambda i: -row[i]):
            if total >= top_p:
                break
            kept.append(token)
            total += row[token]
        for token in range(12):
            assert result[token] == pytest.approx(row[token] / total if token in kept else 0.0, abs=1e-12)


def test_a_nucleus_ends_where_it_reaches_its_probability() -> None:
    """Of four tokens of a quarter each, top_p 0.5 keeps two: with two it is reached."""
    for top_p, kept in ((0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4)):
        assert int(warp_logits(torch.zeros(4, dtype=torch.float64), 1.0, top_p).isfinite().sum()) == kept


def test_temperature_zero_takes_the_likeliest_token() -> None:
    logits = torch.randn(30, 12, generator=make_generator("greedy"), dtype=torch.float64)
    expected = torch.nn.functional.one_hot(logits.argmax(-1), 12).double()
    for top_p in (0.3, 1.0):
        assert torch.equal(warp_logits(logits, 0.0, top_p).softmax(-1), expected)
    assert torch.equal(warp_logits(logits, 1.0), logits)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1e-4])
@pytest.mark.parametrize("top_k,top_p,min_p", [(0, 1.0, 0.2), (3, 1.0, 0.0), (5, 0.8, 0.1), (40, 0.9, 1.0)])
def test_order_and_definitions_are_those_of_hugging_face(
    temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """Penalty, temperature, top_k, top_p, min_p, by the classes that its ``generate`` puts in this order."""
    processors = pytest.importorskip("transformers.generation.logits_process")
    logits = torch.randn(40, 12, generator=make_generator("hugging"), dtype=torch.float64)
    logits[:, 3] = -torch.inf
    ids = torch.randint(0, 12, (40, 6), generator=make_generator("ids"))
    chain = [
        processors.RepetitionPenaltyLogitsProcessor(1.7),
        processors.TemperatureLogitsWarper(temperature),
        *([processors.TopKLogitsWarper(top_k)] if top_k else []),
        *([processors.TopPLogitsWarper(top_p)] if top_p < 1 else []),
        *([processors.MinPLogitsWarper(min_p)] if min_p else []),
    ]
    expected = logits
    for processor in chain:
        expected = processor(ids, expected)
    seen = torch.zeros(40, 12, dtype=torch.bool).scatter(1, ids, True)
    warped = warp_logits(penalize_repeats(logits, 1.7, seen), temperature, top_p, top_k, min_p)
    assert torch.equal(warped.isfinite(), expected.isfinite())
    torch.testing.assert_close(warped.softmax(-1), expected.softmax(-1))


def test_tokens_as_likely_as_the_last_one_kept_are_kept() -> None:
    logits = torch.tensor([3.0, 2.0, 2.0, 1.0])
    for top_k, kept in ((1, 1), (2, 3), (3, 3), (4, 4), (9, 4), (0, 4)):
        assert int(warp_logits(logits, 1.0, top_k=top_k).isfinite().sum()) == kept
    for min_p, count in ((0.0, 4), (0.1, 4), (0.3, 3), (0.4, 1), (1.0, 1)):
        assert int(warp_logits(logits, 1.0, min_p=min_p).isfinite().sum()) == count


@pytest.mark.parametrize("cut", [{"top_k": 2}, {"min_p": 0.5}])
def test_no_cut_hides_a_nan(cut: dict[str, float]) -> None:
    for wrong in (torch.nan, torch.inf):
        logits = torch.tensor([1.0, wrong, 0.0, 2.0])
        assert bool(warp_logits(logits, 1.0, **cut).softmax(-1).isnan().any())


def test_what_a_text_has_before_each_place() -> None:
    """Row by row with Python's sets; the start mark and what a row has not written yet do not count."""
    ids = torch.tensor([[0, 4, 2, 2, 3], [0, 1, 0, 4, 4], [0, 3, 3, 3, 3]])
    counts, drafts = torch.tensor([4, 3, 1]), torch.tensor([[1, 4], [2, 2], [0, 3]])
    seen = seen_ids(ids, counts, 5)
    for row, count in enumerate(counts.tolist()):
        text = set(ids[row, 1:count].tolist())
        assert set(seen[row].nonzero().flatten().tolist()) == text
        before = seen_before(seen, drafts)
        assert before is not None
        for place in range(3):
            known = text | set(drafts[row, :place].tolist())
            assert set(before[row, place].nonzero().flatten().tolist()) == known
    assert seen_before(None, drafts) is None
