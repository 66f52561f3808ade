"""The network: what sees what, cached equals uncached, prompts and their absence, how it starts."""

from __future__ import annotations

import math

import pytest
import torch

from sunfish.config import TrainingConfig
from sunfish.model.denoiser import Denoiser
from sunfish.model.transformer import Transformer, count_parameters, scale_features
from sunfish.rng import make_generator
from sunfish.training.loss import training_loss
from tests.helpers import CONFIG, END, batch, model, process_of, row_generators


def test_causal_passes_are_causal_and_cached() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    whole, _ = network.prefill(texts.x0, condition)
    first, cache = network.prefill(texts.x0[:, :7], condition)
    second, cache = network.prefill(texts.x0[:, 7:9], condition, cache)
    third, _ = network.prefill(texts.x0[:, 9:], condition, cache)
    torch.testing.assert_close(torch.cat([first, second, third], 1), whole, atol=1e-10, rtol=0)
    changed = texts.x0.clone()
    changed[:, 10] = (changed[:, 10] + 1) % CONFIG.vocab_size
    other, _ = network.prefill(changed, condition)
    torch.testing.assert_close(other[:, :10], whole[:, :10], atol=1e-12, rtol=0)
    assert (other[:, 10:] - whole[:, 10:]).abs().max() > 1e-3


def test_dropped_empty_and_null_prompts_are_the_same() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    nothing = network.encode(torch.full((3, 1), END), torch.zeros(3, 1, dtype=torch.bool))
    prompted, _ = network.prefill(texts.x0, condition)
    dropped, _ = network.prefill(texts.x0, condition.drop(torch.ones(3, dtype=torch.bool)))
    empty, _ = network.prefill(texts.x0, nothing)
    torch.testing.assert_close(dropped, empty, atol=1e-10, rtol=0)
    hidden, _ = network.prefill(texts.x0, condition.without_prompts())
    assert torch.equal(hidden, dropped)
    assert (prompted - dropped).abs().max() > 1e-3
    doubled, _ = network.prefill(texts.x0.repeat(2, 1), condition.with_null())
    torch.testing.assert_close(doubled, torch.cat([prompted, dropped]), atol=1e-10, rtol=0)
    mixed, _ = network.prefill(texts.x0, condition.drop(torch.tensor([True, False, True])))
    expected = torch.stack([dropped[0], prompted[1], dropped[2]])
    torch.testing.assert_close(mixed, expected, atol=1e-10, rtol=0)


def test_padding_of_prompts_changes_nothing() -> None:
    network, texts = model(), batch()
    longer = torch.cat([texts.prompt, torch.full((3, 1), 7)], 1)
    mask = torch.cat([texts.prompt_mask, torch.zeros(3, 1, dtype=torch.bool)], 1)
    expected, _ = network.prefill(texts.x0, network.encode(texts.prompt, texts.prompt_mask))
    padded, _ = network.prefill(texts.x0, network.encode(longer, mask))
    torch.testing.assert_close(padded, expected, atol=1e-10, rtol=0)


def test_conditions_of_different_widths_can_be_one_batch() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    short = network.encode(texts.prompt[:, :2], texts.prompt_mask[:, :2])
    together, _ = network.prefill(texts.x0.repeat(2, 1), condition.concat(short))
    expected = [network.prefill(texts.x0, part)[0] for part in (condition, short)]
    torch.testing.assert_close(together, torch.cat(expected), atol=1e-10, rtol=0)


def test_a_missing_guidance_scale_is_one() -> None:
    condition = model().encode(batch().prompt, batch().prompt_mask)
    assert torch.equal(scale_features(condition), scale_features(condition.at_scale(1.0)))
    joined = condition.at_scale(3.0).concat(condition)
    assert joined.scale is not None and joined.scale.tolist() == [3.0] * 3 + [1.0] * 3
    assert condition.concat(condition).scale is None
    network = model(guidance_conditioned=True)
    plain, scaled = (network.prefill(batch().x0, part)[0] for part in (condition, condition.at_scale(3.0)))
    assert (plain - scaled).abs().max() > 1e-3


def test_training_starts_at_the_logarithm_of_the_vocabulary() -> None:
    fresh = Transformer(CONFIG).init_weights(make_generator("fresh"))
    losses = training_loss(fresh, process_of(), batch(), make_generator("noise"), 16, TrainingConfig())
    assert losses.cross_entropy.item() == pytest.approx(math.log(23), abs=0.15)


def test_too_long_texts_and_prompts_are_refused() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    ids = torch.zeros(3, 25, dtype=torch.long)
    with pytest.raises(ValueError, match=r"25 positions.*context_length 24"):
        network.prefill(ids, condition)
    with pytest.raises(ValueError, match=r"25 positions.*context_length 24"):
        network.denoise(ids, torch.ones(ids.shape), condition)
    with pytest.raises(ValueError, match=r"7 tokens.*prompt_length 6"):
        network.encode(torch.zeros(1, 7, dtype=torch.long), torch.ones(1, 7, dtype=torch.bool))


@torch.no_grad()
def test_a_fresh_model_leans_toward_the_words_of_its_prompt() -> None:
    """Cross-attention starts as a copy; without that, prompts are learned several times later."""
    fresh = Transformer(CONFIG).init_weights(make_generator("fresh"))
    prompt = torch.tensor([[5, 9], [14, 20]])
    condition = fresh.encode(prompt, torch.ones(2, 2, dtype=torch.bool))
    logits, _ = fresh.prefill(torch.zeros(2, 12, dtype=torch.long), condition)
    mean = torch.log_softmax(logits, -1).mean(1)  # [2, V]
    difference = mean[0] - mean[1]
    assert float(difference[prompt[0]].min()) > 0 > float(difference[prompt[1]].max())


@pytest.mark.parametrize("name", ["uniform", "gaussian"])
@torch.no_grad()
def test_no_canvas_position_is_told_its_own_noisy_state(name: str) -> None:
    """Where noise does not show, a position learns of its state from the others only; known tokens show."""
    network = model(process=name)
    process, ids = process_of(name, network), batch().x0[:, :4]
    condition = network.encode(batch().prompt, batch().prompt_mask)
    other = (ids + 1) % CONFIG.vocab_size
    for time in (0.0, 0.5):
        t = torch.full(ids.shape, time, dtype=torch.float64)
        clean = [process.corrupt(x0, torch.zeros(ids.shape), row_generators("x")) for x0 in (ids, other)]
        # One position alone on its canvas: nothing can lead back to it.
        alone = [network.denoise(x[:, :1], t[:, :1], condition) for x in clean]
        assert torch.equal(*alone) == (time > 0)
        several = [network.denoise(x, t, condition) for x in clean]
        assert not torch.equal(*several)


def test_parameters_are_counted_without_memory() -> None:
    names = ("time_conditioned", "self_conditioned", "guidance_conditioned")
    for conditioning in ({}, *({name: True} for name in names)):
        network = Transformer(CONFIG, **conditioning)
        assert count_parameters(CONFIG, **conditioning) == sum(p.numel() for p in network.parameters())


def test_activation_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        network, texts = model(), batch()
        network.activation_checkpointing = checkpointing
        losses = training_loss(network, process_of(), texts, make_generator("x"), 4, TrainingConfig())
        losses.total.backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-12, rtol=0, msg=name)


def test_the_network_is_a_denoiser() -> None:
    assert isinstance(model(), Denoiser)
