"""The copy head: an independent computation, what it may not see, and that copying needs no training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sunfish.config import ModelConfig
from sunfish.model.copy_head import CopyHead
from sunfish.model.kernels.autograd import rms_norm
from sunfish.model.layers import Prompt, split_heads
from sunfish.rng import make_generator
from tests.helpers import normal

CONFIG = ModelConfig(vocab_size=11, n_layer=1, n_head=2, n_embd=8, context_length=16, prompt_length=4)
CAUSAL = torch.ones(3, 7, dtype=torch.bool).tril(4)


def random_copy_head() -> CopyHead:
    """Random weights, in float64."""
    drawn, generator = CopyHead(CONFIG).double(), make_generator("copy head")
    for parameter in drawn.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return drawn


def inputs() -> tuple[Tensor, Tensor, Prompt, Tensor]:
    """States and tokens of 2 rows of 3 positions, 2 prompt slots, 4 cached tokens."""
    visible = torch.tensor([[True, True], [True, False]])[:, None, None, :]
    prompt = (
        split_heads(normal(2, 2, 8, name="key"), 2),
        split_heads(normal(2, 2, 8, name="value"), 2),
        visible,
    )
    cached = torch.stack([split_heads(normal(2, 4, 8, name=name), 2) for name in ("key", "value")])
    return normal(2, 3, 8, name="x"), rms_norm(normal(2, 3, 8, name="tokens")), prompt, cached


def joined(part: Tensor) -> Tensor:
    """``[B, H, N, D/H]`` to ``[B, N, D]``."""
    return part.transpose(1, 2).flatten(2)


def unit(x: Tensor) -> Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


@pytest.mark.parametrize("mask", [None, CAUSAL], ids=["canvas", "causal"])
def test_it_is_what_its_formula_says(mask: Tensor | None) -> None:
    copy_head, (x, tokens, prompt, cached) = random_copy_head(), inputs()
    noise = torch.tensor([[False, True, False], [False, False, False]])
    states, (_, new_values) = copy_head(x, tokens, noise, prompt, cached, mask)
    for row in range(2):
        for position in range(3):
            state = unit(x[row, position])
            query = state * copy_head.query_scale
            pairs: list[tuple[Tensor, Tensor]] = []
            for slot in range(2):
                if prompt[2][row, 0, 0, slot]:
                    pairs.append((joined(prompt[0])[row, slot], joined(prompt[1])[row, slot]))
            pairs += [(joined(cached[0])[row, place], joined(cached[1])[row, place]) for place in range(4)]
            for place in range(3):
                if not noise[row, place] and (mask is None or place <= position):
                    token = tokens[row, place]
                    pairs.append((token + copy_head.key_proj.weight @ unit(x[row, place]), token))
            weights = torch.softmax(torch.stack([query @ key / math.sqrt(8) for key, _ in pairs]), dim=0)
            copied = sum(weight * value for weight, (_, value) in zip(weights, pairs, strict=True))
            torch.testing.assert_close(states[row, position], state + copy_head.scale * copied)
    torch.testing.assert_close(joined(new_values), tokens)


def test_a_masked_position_is_never_copied() -> None:
    copy_head, (x, tokens, prompt, cached) = random_copy_head(), inputs()
    noise = torch.tensor([[False, True, False]]).expand(2, -1)
    before, _ = copy_head(x, tokens, noise, prompt, cached)
    tokens[:, 1] = 7.0
    after, _ = copy_head(x, tokens, noise, prompt, cached)
    assert torch.equal(before, after)


def test_untrained_it_already_chooses_the_name_that_the_text_has() -> None:
    """Its purpose: a state expects any of several kindred words, and the text has one of them."""
    config = ModelConfig(vocab_size=64, n_layer=1, n_head=2, n_embd=64, context_length=16)
    copy_head = CopyHead(config)
    copy_head.init_weights()
    table = normal(64, 64, name="table", dtype=torch.float32)
    kindred = 2 * normal(64, name="kindred", dtype=torch.float32)
    table[:20] += kindred  # the names
    text = torch.tensor([[40, 50, 7, 60, 45]])
    prompt = torch.zeros(1, 2, 1, 32), torch.zeros(1, 2, 1, 32), torch.ones(1, 1, 1, 1, dtype=torch.bool)
    x = kindred.expand(1, 5, -1)
    states, _ = copy_head(x, table[text], torch.zeros(1, 5, dtype=torch.bool), prompt)
    gained = (states - rms_norm(x))[0] @ table.T
    assert (gained.argmax(-1) == 7).all()
    assert (gained[:, 7] > 2 * gained[:, [40, 50, 60, 45]].amax(-1)).all()
