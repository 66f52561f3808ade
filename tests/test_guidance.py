"""Guidance: its formula from separate passes, its limits, several prompts, the interval, what bad values say."""

from __future__ import annotations

import pytest
import torch

from sunfish.config.sampling import SamplingSettings
from sunfish.sampling.guidance import Guided
from sunfish.sampling.logits import sharpen
from tests.helpers import CONFIG, batch, model


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_guidance_formula_and_limits(scale: float) -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    t = torch.ones(b.x0.shape)
    c = torch.log_softmax(m(b.x0, t, cond), -1)
    u = torch.log_softmax(m(b.x0, t, cond.drop(torch.ones(3, dtype=torch.bool))), -1)
    guided = Guided(m, scale)(b.x0, t, cond)
    torch.testing.assert_close(guided, torch.log_softmax(u + scale * (c - u), -1), atol=1e-10, rtol=0)
    torch.testing.assert_close(guided.exp().sum(-1), torch.ones(3, 16, dtype=torch.float64))
    if scale == 0:
        torch.testing.assert_close(guided, u, atol=1e-10, rtol=0)
    if scale == 1:
        torch.testing.assert_close(guided, c, atol=1e-10, rtol=0)


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_bad_guidance_scale_is_named(scale: float) -> None:
    with pytest.raises(ValueError, match="guidance_scale is"):
        Guided(model(), scale)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5, 7.0])
def test_plausibility_keeps_what_the_conditional_model_believes_in(scale: float) -> None:
    """Above scale 1 the guided distribution is the plain one, cut to the plausible tokens and renormalised."""
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    t = torch.ones(b.x0.shape)
    p = torch.softmax(m(b.x0, t, cond), -1)
    plain = Guided(m, scale)(b.x0, t, cond).exp()
    kept = p >= 0.4 * p.max(-1, keepdim=True).values
    assert 1 < kept.sum(-1).double().mean() < p.shape[-1]  # the test would say nothing if it kept one or all
    expected = plain * kept / (plain * kept).sum(-1, keepdim=True) if scale > 1 else plain
    got = Guided(m, scale, plausibility=0.4)(b.x0, t, cond).exp()
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
def test_negative_prompts_take_the_place_of_no_prompt(scale: float) -> None:
    """Also where they are shorter or longer than the prompts: hidden positions change nothing."""
    m, b = model(), batch()
    t = torch.ones(b.x0.shape)
    cond = m.encode(b.prompt, b.prompt_mask)
    for length in (2, 6):
        negative = m.encode(torch.full((3, length), 9), torch.ones(3, length, dtype=torch.bool))
        c, n = (torch.log_softmax(m(b.x0, t, which), -1) for which in (cond, negative))
        expected = torch.log_softmax(n + scale * (c - n), -1)
        got = Guided(m, scale, negative=negative)(b.x0, t, cond)
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)
        _, next_logits = Guided(m, scale, negative=negative).remember(b.x0, cond)
        c, n = (torch.log_softmax(m.remember(b.x0, which)[1], -1) for which in (cond, negative))
        expected = torch.log_softmax(n + scale * (c - n), -1)
        torch.testing.assert_close(next_logits, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_bad_plausibility_is_named(share: float) -> None:
    with pytest.raises(ValueError, match="plausibility is"):
        Guided(model(), 2.0, share)
    with pytest.raises(ValueError, match="plausibility is"):
        SamplingSettings(plausibility=share)


def test_guided_memory_has_both_halves() -> None:
    """Guided sampling over blocks equals guidance computed from two separate unguided memories."""
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    null = cond.drop(torch.ones(3, dtype=torch.bool))
    guided = Guided(m, 2.5)
    past, _ = guided.remember(b.x0[:, :8], cond)
    x = torch.full_like(b.x0[:, 8:], CONFIG.vocab_size)
    got = guided(x, torch.ones(x.shape), cond, past, 8)
    past_c, _ = m.remember(b.x0[:, :8], cond)
    past_u, _ = m.remember(b.x0[:, :8], null)
    c = torch.log_softmax(m(x, torch.ones(x.shape), cond, past_c, 8), -1)
    u = torch.log_softmax(m(x, torch.ones(x.shape), null, past_u, 8), -1)
    torch.testing.assert_close(got, torch.log_softmax(u + 2.5 * (c - u), -1), atol=1e-10, rtol=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("with_negative", [False, True])
def test_several_prompts_are_a_weighted_product(scale: float, with_negative: bool) -> None:
    m, b = model(), batch()
    everything = torch.ones(3, dtype=torch.bool)
    cond = m.encode(b.prompt, b.prompt_mask)
    other, third, negative = (
        m.encode(torch.full((3, length), word), torch.ones(3, length, dtype=torch.bool))
        for length, word in ((2, 9), (6, 4), (3, 17))
    )
    away = negative if with_negative else cond.drop(everything)
    guided = Guided(m, scale, negative=negative if with_negative else None, also=[(other, 0.5), (third, 1.5)])

    def expected(logits_of):
        one, two, three, u = (logits_of(which).softmax(-1) for which in (cond, other, third, away))
        product = one ** (1 / 3) * two ** (0.5 / 3) * three ** (1.5 / 3)
        c = product / product.sum(-1, keepdim=True)
        mixed = u * (c / u) ** scale
        return mixed / mixed.sum(-1, keepdim=True)

    t = torch.ones(b.x0.shape)
    got = guided(b.x0, t, cond).exp()
    torch.testing.assert_close(got, expected(lambda which: m(b.x0, t, which)), atol=1e-10, rtol=0)
    past, got = guided.remember(b.x0[:, :8], cond)
    wanted = expected(lambda which: m.remember(b.x0[:, :8], which)[1])
    torch.testing.assert_close(got.exp(), wanted, atol=1e-10, rtol=0)
    x = torch.full_like(b.x0[:, 8:], CONFIG.vocab_size)
    t = torch.ones(x.shape)
    got = guided(x, t, cond, past, 8).exp()
    wanted = expected(lambda which: m(x, t, which, m.remember(b.x0[:, :8], which)[0], 8))
    torch.testing.assert_close(got, wanted, atol=1e-10, rtol=0)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bad_weight_is_named(weight: float) -> None:
    m, b = model(), batch()
    with pytest.raises(ValueError, match="weight of a further prompt is"):
        Guided(m, 2.0, also=[(m.encode(b.prompt, b.prompt_mask), weight)])


@pytest.mark.parametrize("time,inside", [(1.0, False), (0.75, False), (0.7, True), (0.3, True), (0.1, False)])
def test_the_interval_of_guidance(time: float, inside: bool) -> None:
    """Progress is 1 - t; outside the interval the canvas is plainly conditional, with the same guided memory."""
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    guided, whole, plain = (
        Guided(m, scale, 0.2, interval=interval)
        for scale, interval in ((3.0, (0.3, 0.8)), (3.0, (0.0, 1.0)), (1.0, (0.0, 1.0)))
    )
    past, _ = guided.remember(b.x0[:, :8], cond)
    plain_past, _ = plain.remember(b.x0[:, :8], cond)
    x = torch.full_like(b.x0[:, 8:], CONFIG.vocab_size)
    t = torch.full(x.shape, time)
    t[:, 0] = 0.0  # a given token
    expected = whole(x, t, cond, past, 8) if inside else plain(x, t, cond, plain_past, 8)
    torch.testing.assert_close(guided(x, t, cond, past, 8), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("time,scale", [(1.0, 1.0), (0.75, 1.5), (0.5, 2.0), (0.0, 3.0)])
def test_the_rising_schedule(time: float, scale: float) -> None:
    """1 + (3 - 1) * (1 - t) on the canvas; the memory is guided in full."""
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    t = torch.full(b.x0.shape, time)
    rising = Guided(m, 3.0, rising=True)
    expected = Guided(m, scale + 1e-12)(b.x0, t, cond)
    torch.testing.assert_close(rising(b.x0, t, cond), expected, atol=1e-9, rtol=0)
    assert torch.equal(rising.remember(b.x0, cond)[1], Guided(m, 3.0).remember(b.x0, cond)[1])


def test_a_bad_schedule_is_named() -> None:
    with pytest.raises(ValueError, match="guidance_schedule is 'falling'"):
        SamplingSettings(sampler="leftmost", guidance_schedule="falling")


@pytest.mark.parametrize("interval", [(0.5, 0.5), (-0.1, 1.0), (0.2, 1.1), (0.8, 0.3)])
def test_a_bad_interval_is_named(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="guidance_interval is"):
        SamplingSettings(sampler="leftmost", guidance_interval=interval)


def test_verified_has_no_interval() -> None:
    with pytest.raises(ValueError, match="verified has none"):
        SamplingSettings(guidance_interval=(0.3, 1.0))


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_nucleus(top_p: float, temperature: float) -> None:
    """Token by token: the likeliest ones are taken until they reach top_p."""
    logits = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    got = sharpen(logits, SamplingSettings(temperature=temperature, top_p=top_p)).softmax(-1)
    for row, result in zip((logits / temperature).softmax(-1).tolist(), got.tolist(), strict=True):
        kept, total = [], 0.0
        for token in sorted(range(12), key=lambda i: -row[i]):
            if total >= top_p:
                break
            kept.append(token)
            total += row[token]
        for token in range(12):
            assert result[token] == pytest.approx(row[token] / total if token in kept else 0.0, abs=1e-12)


@pytest.mark.parametrize("top_p", [0.0, 1.1, float("nan")])
def test_a_bad_top_p_is_named(top_p: float) -> None:
    with pytest.raises(ValueError, match="top_p is"):
        SamplingSettings(top_p=top_p)
