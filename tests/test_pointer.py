"""The pointer: an independent computation, what it may not see, and that copying needs no training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sunfish.config import ModelConfig
from sunfish.model.copy_head import Pointer
from sunfish.model.kernels.autograd import normalise
from sunfish.model.layers import split_heads

CONFIG = ModelConfig(vocab_size=11, n_layer=1, n_head=2, n_embd=8, context_length=16, prompt_length=4)


def pointer_with_inputs() -> tuple[Pointer, Tensor, Tensor, tuple[Tensor, Tensor, Tensor], Tensor]:
    """A pointer with random weights in float64, and for 2 rows of 3 positions, 2 prompt slots, 4 remembered tokens."""
    generator = torch.Generator().manual_seed(0)
    pointer = Pointer(CONFIG).double()
    for parameter in pointer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shown = torch.tensor([[True, True], [True, False]])[:, None, None, :]
    prompt = (split_heads(draw(2, 2, 8), 2), split_heads(draw(2, 2, 8), 2), shown)
    past = torch.stack([split_heads(draw(2, 4, 8), 2), split_heads(draw(2, 4, 8), 2)])
    return pointer, draw(2, 3, 8), normalise(draw(2, 3, 8)), prompt, past


def merged(part: Tensor) -> Tensor:
    return part.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_what_its_formula_says(causal: bool) -> None:
    pointer, x, tokens, prompt, past = pointer_with_inputs()
    noise = torch.tensor([[False, True, False], [False, False, False]])
    mask = torch.ones(3, 7, dtype=torch.bool).tril(4) if causal else None
    states, own = pointer(x, tokens, noise, prompt, past, mask)

    def norm(v: Tensor) -> Tensor:
        return v / v.pow(2).mean().sqrt()

    for row in range(2):
        for position in range(3):
            at = norm(x[row, position])
            query = at * pointer.query_gain
            places: list[tuple[Tensor, Tensor]] = []
            for slot in range(2):
                if prompt[2][row, 0, 0, slot]:
                    places.append((merged(prompt[0])[row, slot], merged(prompt[1])[row, slot]))
            places += [(merged(past[0])[row, k], merged(past[1])[row, k]) for k in range(4)]
            for k in range(3):
                if not noise[row, k] and not (causal and k > position):
                    token = norm(tokens[row, k])
                    places.append((token + pointer.key.weight @ norm(x[row, k]), token))
            weights = torch.softmax(torch.stack([query @ key / math.sqrt(8) for key, _ in places]), dim=0)
            copied = sum(weight * value for weight, (_, value) in zip(weights, places, strict=True))
            torch.testing.assert_close(
                states[row, position], at + pointer.gain * copied, rtol=1e-5, atol=1e-5
            )
    torch.testing.assert_close(merged(own[1])[0, 0], norm(tokens[0, 0]), rtol=1e-6, atol=1e-6)


def test_a_masked_position_is_never_copied() -> None:
    pointer, x, tokens, prompt, past = pointer_with_inputs()
    noise = torch.tensor([[False, True, False]]).expand(2, -1)
    before, _ = pointer(x, tokens, noise, prompt, past)
    tokens[:, 1] = 7.0
    after, _ = pointer(x, tokens, noise, prompt, past)
    assert torch.equal(before, after)


def test_untrained_it_already_chooses_the_name_that_the_text_has() -> None:
    """The reason for it: a state that expects any of several kindred words, and a text that has one of them."""
    generator = torch.Generator().manual_seed(0)
    config = ModelConfig(vocab_size=64, n_layer=1, n_head=2, n_embd=64, context_length=16)
    pointer = Pointer(config)
    pointer.initialise()
    table = torch.randn(64, 64, generator=generator)
    kindred = 2 * torch.randn(64, generator=generator)
    table[:20] += kindred  # the names
    text = torch.tensor([[40, 50, 7, 60, 45]])
    prompt = torch.zeros(1, 2, 1, 32), torch.zeros(1, 2, 1, 32), torch.ones(1, 1, 1, 1, dtype=torch.bool)
    x = kindred.expand(1, 5, -1)
    after = pointer(x, table[text], torch.zeros(1, 5, dtype=torch.bool), prompt)[0]
    gained = (after - normalise(x))[0] @ table.T
    assert (gained.argmax(-1) == 7).all()
    assert (gained[:, 7] > 2 * gained[:, [40, 50, 60, 45]].amax(-1)).all()
