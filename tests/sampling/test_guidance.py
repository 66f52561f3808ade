"""Guidance: its formula from separate passes, its limits, composed prompts, distilled scales, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sunfish.model.transformer import Transformer
from sunfish.rng import make_generator
from sunfish.sampling.guidance import (
    MAX_DISTILLED_SCALE,
    ClassifierFreeGuidance,
    DistilledGuidance,
    classifier_free_guidance,
)
from sunfish.types import Condition
from sunfish.utils import UsageError
from tests.helpers import CONFIG, batch, model


def log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1)


def encoded_batch(m: Transformer) -> tuple[Tensor, Condition]:
    """The ids ``[3, 16]`` of the test batch, and its prompts."""
    b = batch()
    return b.x0, m.encode(b.prompt, b.prompt_mask)


def repeated_prompt(m: Transformer, token: int, length: int) -> Condition:
    """Three rows of a prompt that is one token ``length`` times."""
    return m.encode(torch.full((3, length), token), torch.ones(3, length, dtype=torch.bool))


def logits_pair() -> tuple[Tensor, Tensor]:
    """Conditional and unconditional logits ``[4, 5, 11]``, not normalized, float64."""
    draw = (torch.randn(4, 5, 11, generator=make_generator(name), dtype=torch.float64) for name in "cu")
    conditional, unconditional = draw
    return 2 * conditional + 3, 2 * unconditional - 5


@pytest.mark.parametrize("plausibility", [0.0, 0.3])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 7.0])
def test_the_function_is_the_formula_token_by_token(scale: float, plausibility: float) -> None:
    conditional, unconditional = logits_pair()
    guided = classifier_free_guidance(conditional, unconditional, scale, plausibility)
    rows = zip(*(part.flatten(0, 1).tolist() for part in (conditional, unconditional, guided)), strict=True)
    dropped = 0
    for c, u, result in rows:
        probability = [math.exp(value) / sum(map(math.exp, c)) for value in c]
        floor = plausibility * max(probability) if scale > 1 else 0.0
        weight = [
            math.exp(b + scale * (a - b)) if p >= floor else 0.0
            for a, b, p in zip(c, u, probability, strict=True)
        ]
        expected = [value / sum(weight) for value in weight]
        assert [math.exp(value) for value in result] == pytest.approx(expected, rel=1e-10, abs=1e-300)
        dropped += expected.count(0.0)
    assert (dropped > 0) == (plausibility > 0 and scale > 1)


def test_plausibility_is_min_p_of_the_conditional_model() -> None:
    """What min_p of the conditional model keeps is what can be drawn, whatever the scale above 1."""
    conditional, unconditional = logits_pair()
    probabilities = torch.softmax(conditional, -1)
    kept = probabilities >= 0.25 * probabilities.amax(-1, keepdim=True)
    for scale in (1.01, 3.0, 40.0):
        guided = classifier_free_guidance(conditional, unconditional, scale, 0.25)
        assert torch.equal(guided.isfinite(), kept)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_a_token_that_is_ruled_out_stays_ruled_out(scale: float) -> None:
    """Banned ids are -inf in every branch; guidance must not make NaN of them."""
    conditional, unconditional = logits_pair()
    for logits in (conditional, unconditional):
        logits[..., 3] = -torch.inf
    guided = classifier_free_guidance(conditional, unconditional, scale)
    assert bool((guided[..., 3] == -torch.inf).all()) and not bool(guided.isnan().any())
    torch.testing.assert_close(guided.exp().sum(-1), torch.ones(4, 5, dtype=torch.float64))


def test_a_constant_for_each_position_changes_nothing() -> None:
    conditional, unconditional = logits_pair()
    shift = torch.randn(4, 5, 1, generator=make_generator("shift"), dtype=torch.float64)
    for plausibility in (0.0, 0.3):
        torch.testing.assert_close(
            classifier_free_guidance(conditional + shift, unconditional - 2 * shift, 2.5, plausibility),
            classifier_free_guidance(conditional, unconditional, 2.5, plausibility),
        )


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_guidance_formula_and_limits(scale: float) -> None:
    m = model()
    ids, condition = encoded_batch(m)
    t = torch.ones(ids.shape)
    c = log_softmax(m.denoise(ids, t, condition))
    u = log_softmax(m.denoise(ids, t, condition.without_prompts()))
    guided = log_softmax(ClassifierFreeGuidance(m, scale).denoise(ids, t, condition))
    torch.testing.assert_close(guided, log_softmax(u + scale * (c - u)), atol=1e-10, rtol=0)
    torch.testing.assert_close(guided.exp().sum(-1), torch.ones(3, 16, dtype=torch.float64))
    if scale == 0:
        torch.testing.assert_close(guided, u, atol=1e-10, rtol=0)
    if scale == 1:
        torch.testing.assert_close(guided, c, atol=1e-10, rtol=0)


@pytest.mark.parametrize("scale,branches", [(0.0, 1), (1.0, 1), (0.5, 2), (3.0, 2)])
def test_a_branch_that_counts_nothing_is_not_run(scale: float, branches: int) -> None:
    m = model()
    ids, condition = encoded_batch(m)
    assert ClassifierFreeGuidance(m, scale).num_branches == branches
    _, cache = ClassifierFreeGuidance(m, scale).prefill(ids, condition)
    assert cache.num_rows == branches * 3


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_bad_guidance_scale_is_named(scale: float) -> None:
    with pytest.raises(UsageError, match="guidance_scale is"):
        ClassifierFreeGuidance(model(), scale)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5, 7.0])
def test_plausibility_keeps_what_the_conditional_model_believes_in(scale: float) -> None:
    """Above scale 1 the guided distribution is cut to the plausible tokens and normalized again."""
    m = model()
    ids, condition = encoded_batch(m)
    t = torch.ones(ids.shape)
    p = torch.softmax(m.denoise(ids, t, condition), -1)
    plain = torch.softmax(ClassifierFreeGuidance(m, scale).denoise(ids, t, condition), -1)
    kept = p >= 0.4 * p.max(-1, keepdim=True).values
    assert 1 < kept.sum(-1).double().mean() < p.shape[-1]  # the test would say nothing if it kept one or all
    expected = plain * kept / (plain * kept).sum(-1, keepdim=True) if scale > 1 else plain
    cut = torch.softmax(ClassifierFreeGuidance(m, scale, plausibility=0.4).denoise(ids, t, condition), -1)
    torch.testing.assert_close(cut, expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("length", [2, 6])
def test_negative_prompts_take_the_place_of_no_prompt(length: int, scale: float) -> None:
    """Also where they are shorter or longer than the prompts: hidden positions change nothing."""
    m = model()
    ids, condition = encoded_batch(m)
    t = torch.ones(ids.shape)
    negative = repeated_prompt(m, 9, length)
    guided = ClassifierFreeGuidance(m, scale, negative=negative)
    for plain, steered in (
        (lambda which: m.denoise(ids, t, which), guided.denoise(ids, t, condition)),
        (lambda which: m.prefill(ids, which)[0], guided.prefill(ids, condition)[0]),
    ):
        c, n = (log_softmax(plain(which)) for which in (condition, negative))
        expected = log_softmax(n + scale * (c - n))
        torch.testing.assert_close(log_softmax(steered), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_bad_plausibility_is_named(share: float) -> None:
    with pytest.raises(UsageError, match="plausibility is"):
        ClassifierFreeGuidance(model(), 2.0, share)


def test_guided_cache_has_both_halves() -> None:
    """Guided sampling over blocks equals guidance computed from two separate unguided caches."""
    m = model()
    ids, condition = encoded_batch(m)
    guided = ClassifierFreeGuidance(m, 2.5)
    _, cache = guided.prefill(ids[:, :8], condition)
    x = torch.full_like(ids[:, 8:], CONFIG.vocab_size)
    t = torch.ones(x.shape)
    steered = guided.denoise(x, t, condition, cache, 8)
    c, u = (
        log_softmax(m.denoise(x, t, which, m.prefill(ids[:, :8], which)[1], 8))
        for which in (condition, condition.without_prompts())
    )
    torch.testing.assert_close(steered, log_softmax(u + 2.5 * (c - u)), atol=1e-10, rtol=0)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("with_negative", [False, True])
def test_composed_prompts_are_a_weighted_product(scale: float, with_negative: bool) -> None:
    """A product of experts: on the canvas, in the causal mode, and after a cache of all branches."""
    m = model()
    ids, condition = encoded_batch(m)
    other, third, negative = (
        repeated_prompt(m, token, length) for token, length in ((9, 2), (4, 6), (17, 3))
    )
    away = negative if with_negative else condition.without_prompts()
    guided = ClassifierFreeGuidance(
        m, scale, negative=negative if with_negative else None, composed=[(other, 0.5), (third, 1.5)]
    )

    def check(steered: Tensor, logits_of: Callable[[Condition], Tensor]) -> None:
        one, two, three, u = (logits_of(which).softmax(-1) for which in (condition, other, third, away))
        product = one ** (1 / 3) * two ** (0.5 / 3) * three ** (1.5 / 3)
        c = product / product.sum(-1, keepdim=True)
        mixed = u * (c / u) ** scale
        expected = mixed / mixed.sum(-1, keepdim=True)
        torch.testing.assert_close(steered.softmax(-1), expected, atol=1e-10, rtol=0)

    t = torch.ones(ids.shape)
    check(guided.denoise(ids, t, condition), lambda which: m.denoise(ids, t, which))
    logits, cache = guided.prefill(ids[:, :8], condition)
    check(logits, lambda which: m.prefill(ids[:, :8], which)[0])
    x = torch.full_like(ids[:, 8:], CONFIG.vocab_size)
    t = torch.ones(x.shape)
    check(
        guided.denoise(x, t, condition, cache, 8),
        lambda which: m.denoise(x, t, which, m.prefill(ids[:, :8], which)[1], 8),
    )


def test_a_prompt_composed_with_itself_is_that_prompt() -> None:
    m = model()
    ids, condition = encoded_batch(m)
    t = torch.ones(ids.shape)
    twice = ClassifierFreeGuidance(m, 2.0, 0.2, composed=[(condition, 3.0)]).denoise(ids, t, condition)
    once = ClassifierFreeGuidance(m, 2.0, 0.2).denoise(ids, t, condition)
    torch.testing.assert_close(twice, once, atol=1e-10, rtol=0)


def test_distilled_guidance_tells_the_network_its_scale() -> None:
    """In every pass that sampling makes; another scale gives other logits."""
    m = model(guidance_conditioned=True)
    ids, condition = encoded_batch(m)
    guided, told = DistilledGuidance(m, 3.0), condition.at_scale(3.0)
    x = torch.full((3, 4), CONFIG.vocab_size)
    t = torch.ones(x.shape)
    logits, cache = guided.prefill(ids, condition)
    expected, expected_cache = m.prefill(ids, told)
    assert torch.equal(logits, expected) and torch.equal(cache.keys_values, expected_cache.keys_values)
    assert torch.equal(guided.denoise(x, t, condition, cache, 16), m.denoise(x, t, told, cache, 16))
    drafts = (guided.draft(x, t, condition, cache, 16), m.draft(x, t, told, cache, 16))
    assert torch.equal(*(draft.marginal_logits(3) for draft in drafts))
    canvases = x.repeat(1, 2)
    verified = (
        guided.prefill_and_draft(ids[:, :2], canvases, t.repeat(1, 2), condition, cache, 16),
        m.prefill_and_draft(ids[:, :2], canvases, t.repeat(1, 2), told, cache, 16),
    )
    assert torch.equal(verified[0][0], verified[1][0])
    last = torch.ones(3, dtype=torch.long)
    assert torch.equal(*(draft_at(last).marginal_logits(3) for _, _, draft_at in verified))
    other, _ = DistilledGuidance(m, 1.5).prefill(ids, condition)
    assert bool(((other - logits).abs() > 1e-3).any())


@pytest.mark.parametrize("scale", [-0.5, MAX_DISTILLED_SCALE + 0.5, float("nan")])
def test_a_scale_that_was_not_taught_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match=r"guidance_scale is .*scales from 0 to 4"):
        DistilledGuidance(model(guidance_conditioned=True), scale)


def test_smaller_networks_are_guided_as_well() -> None:
    """Nothing in guidance depends on the draft head, the smear or the prompt length."""
    m = model(config=replace(CONFIG, smear=False, draft_head=False))
    ids, condition = encoded_batch(m)
    t = torch.ones(ids.shape)
    c, u = (log_softmax(m.denoise(ids, t, which)) for which in (condition, condition.without_prompts()))
    guided = ClassifierFreeGuidance(m, 2.0).denoise(ids, t, condition)
    torch.testing.assert_close(guided, log_softmax(u + 2 * (c - u)), atol=1e-10, rtol=0)
