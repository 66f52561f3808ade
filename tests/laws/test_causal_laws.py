"""Every pass against a plain transformer, written out position by position from the same weights.

What SunFish calls the exact next-token likelihood is that of an ordinary autoregressive model.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sunfish.model.prompt_encoder import PromptEncoder
from sunfish.model.transformer import Transformer
from sunfish.processes import process_builders
from sunfish.types import Condition
from tests.helpers import CONFIG, batch, model, noisy_state, normal, process_of
from tests.laws.plain_transformer import canvas_positions, plain_logits, plain_prompt, text_positions

SCALES = [1.0, 2.5, 0.0]  # the guidance scale of each row


def scaled(condition: Condition) -> Condition:
    """The same prompts, each row at its guidance scale."""
    return condition._replace(scale=torch.tensor(SCALES, dtype=torch.float64))


@pytest.mark.parametrize("guidance_conditioned", [False, True])
@torch.no_grad()
def test_next_token_likelihood_is_that_of_a_plain_causal_transformer(guidance_conditioned: bool) -> None:
    network, texts = model(guidance_conditioned=guidance_conditioned), batch()
    condition = scaled(network.encode(texts.prompt, texts.prompt_mask))
    logits, _ = network.prefill(texts.x0, condition)
    for row in range(3):
        positions = text_positions(network, texts.x0[row].tolist(), SCALES[row])
        expected = plain_logits(network, positions, condition, row)
        torch.testing.assert_close(logits[row], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("known", [0, 6])
@pytest.mark.parametrize("name", process_builders())
@torch.no_grad()
def test_a_canvas_is_that_of_a_plain_bidirectional_transformer(name: str, known: int) -> None:
    """After ``known`` tokens of text; the canvas has a clean token and noisy ones at other times."""
    network, texts = model(process=name, guidance_conditioned=True), batch()
    condition = scaled(network.encode(texts.prompt, texts.prompt_mask))
    t = torch.tensor([0.0, 0.9, 0.4, 1.0], dtype=torch.float64)
    x = noisy_state(process_of(name, network), texts.x0[:, 4:8], t.expand(3, -1))
    cache = network.prefill(texts.x0[:, :known], condition)[1] if known else None
    logits = network.denoise(x, t.expand(3, -1), condition, cache, known)
    for row in range(3):
        text = text_positions(network, texts.x0[row, :known].tolist(), SCALES[row]) if known else []
        canvas = canvas_positions(network, x[row], t.tolist(), text, SCALES[row])
        expected = plain_logits(network, text + canvas, condition, row)[known:]
        torch.testing.assert_close(logits[row], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_a_prompt_is_encoded_by_a_plain_bidirectional_transformer(layers: int, frozen: bool) -> None:
    """With the network's embeddings, or with frozen ones of another width and a matrix."""
    texts, table = batch(), normal(CONFIG.vocab_size, 10, name="table") if frozen else None
    network = model(config=replace(CONFIG, n_prompt_layer=layers), prompt_table=table)
    encoder = network.prompt_encoder
    assert isinstance(encoder, PromptEncoder) and len(encoder.blocks) == layers
    condition = network.encode(texts.prompt, texts.prompt_mask)
    for row, prompt in enumerate(texts.prompt):
        count = int(texts.prompt_mask[row].sum())
        ids = prompt[:count]
        tokens = embedded(network, ids)
        keys, values = plain_prompt(encoder, tokens)
        assert condition.mask[row].tolist() == [n <= count for n in range(6)]
        torch.testing.assert_close(condition.keys[:, row, :, : 1 + count], keys, atol=1e-9, rtol=0)
        torch.testing.assert_close(condition.values[:, row, :, : 1 + count], values, atol=1e-9, rtol=0)


def embedded(network: Transformer, ids: torch.Tensor) -> torch.Tensor:
    """Prompt ids as embeddings ``[P, D]``."""
    encoder = network.prompt_encoder
    assert isinstance(encoder, PromptEncoder)
    if encoder.adapter is None or encoder.frozen_table is None:
        return network.token_embedding[ids]
    return encoder.frozen_table[ids] @ encoder.adapter.weight.T
