"""The smear against loops over positions, at the borders of blocks, cache and text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sunfish.model.layers import Smear
from sunfish.model.layout import Layout
from sunfish.rng import make_generator
from tests.helpers import CONFIG, batch, model, normal

CPU = torch.device("cpu")
D = CONFIG.n_embd


@pytest.fixture
def smear() -> Smear:
    """Random scales for each head."""
    drawn = Smear(CONFIG).double()
    with torch.no_grad():
        for name, scale in drawn.named_parameters():
            scale.normal_(generator=make_generator(name))
    return drawn


def neighbors(smear: Smear, previous: Tensor, following: Tensor) -> Tensor:
    """What two neighbors ``[B, D]`` add."""
    prev_scale, next_scale = (
        scale.flatten().repeat_interleave(D // CONFIG.n_head)
        for scale in (smear.prev_scale, smear.next_scale)
    )
    return prev_scale * previous + next_scale * following


@pytest.mark.parametrize("length", [1, 2, 5])
def test_text_gets_the_previous_token_only(smear: Smear, length: int) -> None:
    tokens, last, nothing = normal(3, length, D), normal(3, D, name="last"), torch.zeros(3, D)
    added = smear(tokens, Layout.causal(length, 4, 4, CPU), last)
    for n in range(length):
        expected = neighbors(smear, tokens[:, n - 1] if n else last, nothing)
        torch.testing.assert_close(added[:, n], expected)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_canvas_gets_both_neighbors_and_the_token_before_it(smear: Smear, length: int) -> None:
    tokens, last, nothing = normal(3, length, D), normal(3, D, name="last"), torch.zeros(3, D)
    added = smear(tokens, Layout.canvas(length, 4, 4, CPU), last)
    for n in range(length):
        following = tokens[:, n + 1] if n + 1 < length else nothing
        expected = neighbors(smear, tokens[:, n - 1] if n else last, following)
        torch.testing.assert_close(added[:, n], expected)


@pytest.mark.parametrize("canvases", [1, 2])
@pytest.mark.parametrize("block_length", [1, 4, 5, 9, 99])
def test_a_block_sees_itself_and_the_text_before_it(smear: Smear, block_length: int, canvases: int) -> None:
    """Of a joint pass: no block of a canvas has a neighbor in another block."""
    tokens, last = normal(2, 9 * (1 + canvases), D), torch.zeros(2, D, dtype=torch.float64)
    nothing = torch.zeros_like(last)
    added = smear(tokens, Layout.joint(9, canvases, block_length, CPU, False), last)
    text = [last, *tokens[:, :9].unbind(1)]  # the token left of each position
    for n in range(9):
        torch.testing.assert_close(added[:, n], neighbors(smear, text[n], nothing))
    for first in range(9, 9 * (1 + canvases), 9):
        canvas = tokens[:, first : first + 9]
        for n in range(9):
            previous = canvas[:, n - 1] if n % block_length else text[n]
            inside = (n + 1) % block_length and n + 1 < 9
            following = canvas[:, n + 1] if inside else nothing
            torch.testing.assert_close(added[:, first + n], neighbors(smear, previous, following))


def test_a_canvas_after_a_token_begins_with_that_token(smear: Smear) -> None:
    tokens, last, nothing = normal(2, 3 + 3 * 2, D), normal(2, D, name="last"), torch.zeros(2, D)
    added = smear(tokens, Layout.causal_and_drafts(3, 2, 4, 4, CPU), last)
    for token in range(3):
        previous = tokens[:, token - 1] if token else last
        torch.testing.assert_close(added[:, token], neighbors(smear, previous, nothing))
        first, second = tokens[:, 3 + 2 * token], tokens[:, 4 + 2 * token]
        torch.testing.assert_close(added[:, 3 + 2 * token], neighbors(smear, tokens[:, token], second))
        torch.testing.assert_close(added[:, 4 + 2 * token], neighbors(smear, first, nothing))


@pytest.mark.parametrize("canvas", [False, True])
@torch.no_grad()
def test_only_visible_neighbors_change_a_position(canvas: bool) -> None:
    """Through a network without attention: text sees one token back, the canvas one to either side."""
    network, texts = model(), batch()
    for name, parameter in network.named_parameters():
        if name.endswith(("out_proj.weight", "down_proj.weight")) or name == "copy_head.scale":
            parameter.zero_()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    other, t = texts.x0.clone(), torch.zeros(texts.x0.shape)
    other[:, 8] = (other[:, 8] + 1) % CONFIG.vocab_size

    run: Callable[[Tensor], Tensor] = (
        (lambda ids: network.canvas_pass(ids, t, condition))
        if canvas
        else (lambda ids: network.causal_pass(ids, condition)[0])
    )
    changed = (run(texts.x0) != run(other)).any(-1)
    assert changed[0].nonzero().flatten().tolist() == ([7, 8, 9] if canvas else [8, 9])


@torch.no_grad()
def test_a_model_may_be_without() -> None:
    network, texts = model(config=replace(CONFIG, smear=False)), batch()
    assert network.smear is None
    condition = network.encode(texts.prompt, texts.prompt_mask)
    hidden, cache = network.causal_pass(texts.x0, condition)
    assert cache.length == 16 and hidden.isfinite().all()
    first, cache = network.causal_pass(texts.x0[:, :7], condition)
    second, _ = network.causal_pass(texts.x0[:, 7:], condition, cache)
    torch.testing.assert_close(torch.cat([first, second], dim=1), hidden, atol=1e-10, rtol=0)
