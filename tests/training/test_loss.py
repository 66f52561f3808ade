"""The loss of a batch against PyTorch's own cross-entropy in float64, and what has a part in it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.config import TrainingConfig
from sunfish.model.transformer import Transformer
from sunfish.rng import make_generator
from sunfish.training.loss import losses_at, training_loss, with_estimate
from sunfish.training.time_sampling import complementary_masks, fixed_count_mask, sample_block_times
from sunfish.types import Batch
from tests.helpers import CONFIG, batch, model, process_of, row_generators

LENGTH = 16


def masked_canvas(b: Batch, block_length: int) -> tuple[Tensor, Tensor]:
    """A masked canvas ``[B, N]`` of the batch, and its times."""
    t = sample_block_times(b, block_length, 0.0, 1.0, make_generator("t")).double()
    return process_of().corrupt(b.x0, t, row_generators("x")), t


def next_token_nats(m: Transformer, b: Batch) -> float:
    """Mean next-token cross-entropy of the real tokens, row by row."""
    logits, _ = m.prefill(b.x0, m.encode(b.prompt, b.prompt_mask))
    nats = [
        F.cross_entropy(logits[row, : size - 1], b.x0[row, 1:size], reduction="sum")
        for row, size in enumerate(b.lengths.tolist())
    ]
    return float(sum(nats).detach()) / int((b.lengths - 1).sum())  # type: ignore[union-attr]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("block_length", [1, 4, LENGTH, 99])
def test_each_part_is_what_it_says(block_length: int, weight: float) -> None:
    """The total is (1 - w) * canvas + w * next token + the draft head's own loss."""
    m, b = model(), batch()
    x_t, t = masked_canvas(b, block_length)
    condition = m.encode(b.prompt, b.prompt_mask)
    losses = losses_at(m, process_of(), b, condition, x_t, t, block_length, weight)
    total = (1 - weight) * losses.canvas + weight * losses.next_token + losses.draft
    torch.testing.assert_close(losses.total.detach(), total)
    expected = next_token_nats(m, b) if weight else 0.0
    assert float(losses.next_token) == pytest.approx(expected, rel=1e-5)
    masked = x_t == CONFIG.vocab_size
    logits = m.head(m.joint_pass(b.x0, x_t, t, condition, block_length)[1])
    nats = F.cross_entropy(logits[masked], b.x0[masked], reduction="none").detach()
    canvas = float((nats / t[masked]).sum() / (b.lengths - 1).sum())
    assert float(losses.canvas) == pytest.approx(canvas if weight < 1 else 0.0, rel=1e-5)
    assert float(losses.cross_entropy) == pytest.approx(float(nats.mean()) if weight < 1 else 0.0, rel=1e-5)


def test_an_evaluation_is_the_same_loss_without_the_draft_head() -> None:
    m, b = model(), batch()
    x_t, t = masked_canvas(b, 4)
    condition = m.encode(b.prompt, b.prompt_mask)
    trained, evaluated = (
        losses_at(m, process_of(), b, condition, x_t, t, 4, 0.5, evaluating=evaluating)
        for evaluating in (False, True)
    )
    torch.testing.assert_close(evaluated.canvas, trained.canvas)
    assert float(evaluated.draft) == 0 < float(trained.draft)


def test_a_canvas_without_masks_has_no_loss() -> None:
    m, b = model(), batch()
    condition = m.encode(b.prompt, b.prompt_mask)
    losses = losses_at(m, process_of(), b, condition, b.x0, torch.zeros(b.x0.shape), 4, 0.5)
    assert float(losses.canvas) == float(losses.cross_entropy) == 0
    losses.total.backward()
    assert all(bool(p.grad.isfinite().all()) for p in m.parameters() if p.grad is not None)


def test_the_loss_of_two_canvases_is_their_mean() -> None:
    m, b, process = model(), batch(), process_of()
    condition = m.encode(b.prompt, b.prompt_mask)
    chosen, share = fixed_count_mask(
        sample_block_times(b, 4, 0.2, 0.8, make_generator("t")), 4, make_generator("counts")
    )
    noise, t = complementary_masks(chosen, share)
    x_t = b.x0.repeat(1, 2).masked_fill(noise > 0, m.config.vocab_size)
    together = losses_at(m, process, b, condition, x_t, t, 4, 0.5)
    apart = [
        losses_at(m, process, b, condition, x, time, 4, 0.5)
        for x, time in zip(x_t.chunk(2, 1), t.chunk(2, 1), strict=True)
    ]
    assert float(together.canvas) == pytest.approx(sum(float(one.canvas) for one in apart) / 2, rel=1e-6)
    assert float(together.next_token) == pytest.approx(float(apart[0].next_token), rel=1e-6)


@pytest.mark.parametrize("complementary", [False, True])
@pytest.mark.parametrize("name", ["masked", "mixed", "gaussian"])
def test_a_step_is_a_function_of_its_generator(name: str, complementary: bool) -> None:
    m, b = model(process=name), batch()
    training = TrainingConfig(complementary=complementary)

    def total(seed: int) -> float:
        process = process_of(name, m)
        return float(training_loss(m, process, b, make_generator("step", seed), 4, training).total.detach())

    assert total(1) == total(1) != total(2)


def test_a_dropped_prompt_is_no_prompt() -> None:
    """With all prompts dropped the loss is that of a batch without any; with none dropped it is not."""
    m, b = model(), batch()
    without = b._replace(prompt_mask=torch.zeros_like(b.prompt_mask))

    def total(which: Batch, dropout: float) -> float:
        training = TrainingConfig(prompt_dropout=dropout)
        losses = training_loss(m, process_of(), which, make_generator("step"), 4, training)
        return float(losses.total.detach())

    assert total(b, 1.0) == pytest.approx(total(without, 0.0), rel=1e-9)
    assert total(b, 0.0) != pytest.approx(total(b, 1.0), rel=1e-4)


@pytest.mark.parametrize("block_length", [4, LENGTH])
def test_an_estimate_is_shown_where_the_text_is_unknown(block_length: int) -> None:
    m, b = model(process="gaussian"), batch()
    process = process_of("gaussian", m)
    t = sample_block_times(b, block_length, 0.0, 1.0, make_generator("t")).double()
    x_t = process.corrupt(b.x0, t, row_generators("x"))
    condition = m.encode(b.prompt, b.prompt_mask)
    shown = with_estimate(m, process, b, condition, x_t, t, block_length)
    logits = m.head(m.joint_pass(b.x0, x_t, t, condition, block_length)[1])
    expected = process.with_self_conditioning(logits, x_t, t)
    torch.testing.assert_close(shown[:, 1:], expected[:, 1:])
    assert torch.equal(shown[:, 0], x_t[:, 0]) and not shown.requires_grad
    assert not torch.equal(shown[:, 1:], x_t[:, 1:])
