"""The joint pass computes what separate passes over a growing cache do, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sunfish.model.transformer import Transformer
from sunfish.processes import process_builders
from sunfish.rng import make_generator
from sunfish.training.time_sampling import complementary_masks, fixed_count_mask, sample_block_times
from tests.helpers import (
    CONFIG,
    WITHOUT_PROMPTS,
    batch,
    model,
    normal,
    process_of,
    row_generators,
    separate_passes,
)

BLOCK_LENGTHS = pytest.mark.parametrize("block_length", [1, 5, 16, 99])  # a text has 16 positions


def gradients(network: Transformer, hidden: tuple[Tensor, Tensor]) -> list[Tensor | None]:
    """The gradient of each parameter for fixed random weights of the states."""
    total = sum((part * normal(*part.shape, name=str(i))).sum() for i, part in enumerate(hidden))
    assert isinstance(total, Tensor)
    return list(torch.autograd.grad(total, list(network.parameters()), allow_unused=True))


@pytest.mark.parametrize(
    ("block_length", "prompts"),
    [
        *((1, True), (5, True), (99, True), (99, False)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((16, True), (5, False))),
    ],
)
@pytest.mark.parametrize("name", process_builders())
def test_joint_pass_equals_separate_passes(name: str, block_length: int, prompts: bool) -> None:
    network = model(config=CONFIG if prompts else WITHOUT_PROMPTS, process=name)
    texts, process = batch(), process_of(name, network)
    mask = texts.prompt_mask & prompts
    t = sample_block_times(texts, block_length, 0.0, 1.0, make_generator("t")).double()
    with torch.no_grad():
        x_t = process.corrupt(texts.x0, t, row_generators("x"))

    condition = network.encode(texts.prompt, mask)
    whole_text, _ = network.causal_pass(texts.x0, condition)
    separate = separate_passes(network, texts.x0, x_t, t, condition, block_length)
    torch.testing.assert_close(separate[0], whole_text, atol=1e-10, rtol=0)
    expected = gradients(network, separate)
    condition = network.encode(texts.prompt, mask)
    joint = network.joint_pass(texts.x0, x_t, t, condition, block_length)
    torch.testing.assert_close(joint, separate, atol=1e-10, rtol=0)
    for actual, reference in zip(gradients(network, joint), expected, strict=True):
        assert (actual is None) == (reference is None)
        if actual is not None and reference is not None:
            torch.testing.assert_close(actual, reference, atol=1e-9, rtol=1e-9)


@BLOCK_LENGTHS
def test_two_canvases_of_a_text_do_not_see_each_other(block_length: int) -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    t = sample_block_times(texts, block_length, 0.2, 0.8, make_generator("t"))
    noise, t = complementary_masks(*fixed_count_mask(t, block_length, row_generators("counts")))
    x_t = texts.x0.repeat(1, 2).masked_fill(noise > 0, CONFIG.vocab_size)
    text, canvases = network.joint_pass(texts.x0, x_t, t, condition, block_length)
    for x, times, canvas in zip(x_t.chunk(2, 1), t.chunk(2, 1), canvases.chunk(2, 1), strict=True):
        alone = network.joint_pass(texts.x0, x, times, condition, block_length)
        torch.testing.assert_close((text, canvas), alone, atol=1e-10, rtol=0)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize(
    ("block_length", "canvases"),
    [
        (3, 2),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((3, 1), (4, 1), (4, 2), (16, 1), (16, 2))),
    ],
)
@torch.no_grad()
def test_flex_attention_equals_attention_in_segments(block_length: int, canvases: int) -> None:
    """Training on a GPU takes FlexAttention; everything else takes segments."""
    network, texts = model(), batch()
    x = torch.randint(0, CONFIG.vocab_size + 1, (3, canvases * 16), generator=make_generator("x"))
    condition = network.encode(texts.prompt, texts.prompt_mask)
    arguments = (texts.x0, x, torch.ones(x.shape), condition, block_length)
    in_segments = network.joint_pass(*arguments)
    network.flex_attention = True
    for tiled, reference in zip(network.joint_pass(*arguments), in_segments, strict=True):
        torch.testing.assert_close(tiled, reference, atol=1e-10, rtol=0)
        assert not torch.equal(tiled, reference)  # another kernel: the tiles were used


def test_no_block_sees_its_own_clean_tokens() -> None:
    """A changed clean token changes the canvas in later blocks only; otherwise the loss would leak."""
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    masks, t = torch.full_like(texts.x0, CONFIG.vocab_size), torch.ones(texts.x0.shape)
    changed = texts.x0.clone()
    changed[:, 6] = (changed[:, 6] + 1) % CONFIG.vocab_size
    canvases = [network.joint_pass(x0, masks, t, condition, 4)[1] for x0 in (texts.x0, changed)]
    difference = (canvases[1] - canvases[0]).abs().amax(dim=(0, 2))
    assert difference[:8].max() == 0  # blocks 0-3 and 4-7
    assert difference[8:].min() > 1e-6


def test_a_text_longer_than_the_context_is_refused() -> None:
    network = model()
    condition = network.encode(batch().prompt, batch().prompt_mask)
    ids = torch.zeros(3, CONFIG.context_length + 1, dtype=torch.long)
    with pytest.raises(ValueError, match=r"25 positions.*context_length 24"):
        network.joint_pass(ids, ids, torch.ones(ids.shape), condition, 4)
