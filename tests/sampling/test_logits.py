"""From logits to what is drawn: the vocabulary mask, the temperature, the nucleus."""

from __future__ import annotations

import pytest
import torch

from sunfish.rng import make_generator
from sunfish.sampling.logits import VocabularyMask, warp_logits
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
        outputs += [draft.marginal_logits, draft.conditional_logits(previous)]
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
