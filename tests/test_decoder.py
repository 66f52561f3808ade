"""A decoder of the canvas's own: what it shares with the reading layers, what it costs, what it may see."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sunfish.config import ModelConfig, ProcessConfig
from sunfish.config.presets import preset
from sunfish.model.cost import flops_per_token
from sunfish.model.transformer import count_parameters
from sunfish.processes import build_process
from sunfish.rng import generator_of
from sunfish.training.loss import objective
from tests.helpers import CONFIG, batch, model, trained_and_cached

SHALLOW = replace(CONFIG, n_layer=3, n_decoder_layer=1)


def test_a_decoder_with_the_layers_weights_is_the_model_without_one() -> None:
    plain, deep = model(), model(config=replace(CONFIG, n_decoder_layer=CONFIG.n_layer))
    deep.load_state_dict(plain.state_dict() | deep.decoder.state_dict(prefix="decoder."))
    b = batch()
    x, t = torch.full_like(b.x0, CONFIG.vocab_size), torch.ones(b.x0.shape)
    cond = plain.encode(b.prompt, b.prompt_mask)
    past, expected = plain.remember(b.x0, cond)
    torch.testing.assert_close(deep.remember(b.x0, cond)[1], expected, atol=0, rtol=0)
    canvas = plain(x, t, cond, past, 0, 4)
    assert (deep(x, t, cond, past, 0, 4) - canvas).abs().max() > 1e-3
    deep.decoder.load_state_dict(deep.layers.state_dict())
    torch.testing.assert_close(deep(x, t, cond, past, 0, 4), canvas, atol=0, rtol=0)


@torch.no_grad()
def test_a_shallow_decoder_reads_the_memory_of_the_last_layers() -> None:
    m, b = model(config=SHALLOW), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    past, _ = m.remember(b.x0, cond)
    x, t = torch.full_like(b.x0, CONFIG.vocab_size), torch.ones(b.x0.shape)
    before = m(x, t, cond, past, 0, 4)
    for layer, seen in enumerate((False, False, True, True)):  # three layers, then the pointer
        other = past.clone()
        other[layer] += torch.randn(other[layer].shape, generator=generator_of(layer))
        assert (float((m(x, t, cond, other, 0, 4) - before).abs().max()) > 1e-6) == seen


@pytest.mark.parametrize("block", [1, 4, 0])
def test_training_and_cached_sampling_give_the_same_logits(block: int) -> None:
    together, cached = trained_and_cached(model(config=SHALLOW), build_process(ProcessConfig()), block)
    torch.testing.assert_close(cached, together, atol=1e-10, rtol=0)


def test_both_losses_reach_the_weights_that_they_should() -> None:
    m, training = model(torch.float32, SHALLOW), preset("nano").training
    process = build_process(ProcessConfig())
    for weight, reading, decoding in ((0.0, True, True), (1.0, True, False)):  # the canvas sees the memory
        m.zero_grad(set_to_none=True)
        objective(
            m, process, batch(), generator_of("g"), 4, replace(training, next_token_weight=weight)
        ).total.backward()
        for layers, reached in ((m.layers, reading), (m.decoder, decoding)):
            found = [p.grad is not None and bool(p.grad.any()) for p in layers.parameters()]
            assert any(found) == reached


def test_it_trains_with_fewer_operations_and_a_wrong_depth_is_refused() -> None:
    plain, shallow = preset("base").model, preset("base", n_layer=11, n_decoder_layer=1).model
    assert count_parameters(shallow) == pytest.approx(count_parameters(plain), rel=0.02)
    assert flops_per_token(shallow) < 0.8 * flops_per_token(plain)
    with pytest.raises(ValueError, match=r"n_decoder_layer is 4: .* up to n_layer, 3"):
        ModelConfig(n_decoder_layer=4)
