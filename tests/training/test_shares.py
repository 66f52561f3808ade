"""Parts of a batch: the rows, the noise and the loss of a row do not depend on the part that holds it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sunfish.config import TrainingConfig
from sunfish.rng import BatchNoise, Share, make_generator
from sunfish.training.loss import Losses, training_loss
from sunfish.training.time_sampling import fixed_count_mask, sample_block_times
from sunfish.types import Batch
from tests.helpers import batch, model, process_of
from tests.training.recording import record_canvases


def learn(process: str, texts: Batch, **training: object) -> tuple[Losses, dict[str, Tensor], list[Tensor]]:
    """The losses of some texts, the gradient of each weight, and the corrupted texts."""
    network = model(process=process)
    corruption = process_of(process, network)
    canvases = record_canvases(corruption)
    losses = training_loss(
        network, corruption, texts, make_generator("step", 1), 4, TrainingConfig(**training)
    )
    losses.total.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return losses, gradients, [canvas for canvas, _ in canvases]


def noise_of(texts: Batch, name: str) -> BatchNoise:
    """The noise of some rows in the step ``name``."""
    return BatchNoise(make_generator(name), texts.share)


@pytest.mark.parametrize("process", ["masked", "uniform", "mixed", "gaussian"])
@pytest.mark.parametrize("complementary", [False, True])
def test_parts_add_up_to_the_batch(process: str, complementary: bool) -> None:
    """Texts have 11, 14 and 16 tokens, so a mean of the parts' means would be another gradient."""
    if complementary and process != "masked":
        return
    texts = batch(rows=6)
    settings = dict(prompt_dropout=0.5, complementary=complementary)
    whole, expected, canvases = learn(process, texts, **settings)
    parts = [learn(process, texts.part(range(number, 6, 3), 16), **settings) for number in range(3)]
    for number, (_, _, corrupted) in enumerate(parts):
        assert torch.equal(corrupted[0], canvases[0][number::3])
    for name in ("canvas", "next_token"):
        added = torch.stack([getattr(losses, name) for losses, _, _ in parts]).sum()
        torch.testing.assert_close(added, getattr(whole, name), msg=name)
    for name in ("scored", "drafted"):
        assert sum(getattr(losses, name) for losses, _, _ in parts) == getattr(whole, name) > 6
    for name, gradient in expected.items():
        added = torch.stack([gradients[name] for _, gradients, _ in parts]).sum(0)
        if name.startswith("draft_head"):
            added = added * texts.tokens / whole.drafted
        torch.testing.assert_close(added, gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_a_part_of_a_part_is_a_part() -> None:
    """What accumulation on several processes needs."""
    texts = batch(rows=12)
    for number in range(4):
        inner = texts.part(range(number % 2, 12, 2), 16).part(range(number // 2, 6, 2), 8)
        outer, tokens = texts.part(range(number, 12, 4), 8), int((texts.lengths - 1).sum())
        assert inner.share == outer.share == Share((number, number + 4, number + 8), 12, 16, tokens)
        assert all(torch.equal(a, b) for a, b in zip(inner[:4], outer[:4], strict=True))
        assert inner.rows == outer.rows == texts.rows == 12


def test_times_and_masks_are_those_of_the_whole_batch() -> None:
    texts = batch(rows=6)
    t = sample_block_times(texts, 5, 0.1, 0.9, make_generator("t"))
    masks = fixed_count_mask(t, 5, noise_of(texts, "m"))
    uniform = noise_of(texts, "u").uniform(6, 16)
    for number in range(2):
        part = texts.part(range(number, 6, 2), 16)
        times = sample_block_times(part, 5, 0.1, 0.9, make_generator("t"))
        assert torch.equal(times, t[number::2])
        for one, other in zip(fixed_count_mask(times, 5, noise_of(part, "m")), masks, strict=True):
            assert torch.equal(one, other[number::2])
        assert torch.equal(noise_of(part, "u").uniform(3, 16), uniform[number::2])


def test_the_noise_of_a_narrow_row_is_the_beginning_of_its_row() -> None:
    """Of numbers and vectors, and of times, of which a block has one."""
    texts = batch(rows=6)
    part = texts.part([4, 1], 9)
    whole, narrow = noise_of(texts, "u"), noise_of(part, "u")
    for _ in range(2):
        assert torch.equal(narrow.uniform(2, 9), whole.uniform(6, 16)[[4, 1], :9])
        assert torch.equal(narrow.normal(2, 9, 5), whole.normal(6, 16, 5)[[4, 1], :9])
        assert torch.equal(narrow.uniform(2), whole.uniform(6)[[4, 1]])
    t = sample_block_times(texts, 5, 0.1, 0.9, make_generator("t"))
    assert torch.equal(sample_block_times(part, 5, 0.1, 0.9, make_generator("t")), t[[4, 1], :9])
