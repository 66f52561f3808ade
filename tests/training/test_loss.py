"""The loss of a batch against PyTorch's own cross-entropy in float64, and what has a part in it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.config import TrainingConfig
from sunfish.model.transformer import Transformer
from sunfish.rng import WHOLE, Share, make_generator
from sunfish.training.loss import Losses, draft_loss, in_drafts, losses_at, training_loss, with_estimate
from sunfish.training.time_sampling import complementary_masks, fixed_count_mask, sample_block_times
from sunfish.types import Batch
from tests.helpers import CONFIG, batch, model, process_of, row_generators
from tests.training.recording import RecordedPasses

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
        sample_block_times(b, 4, 0.2, 0.8, make_generator("t")), 4, row_generators("counts")
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


def loss_of(
    m: Transformer, b: Batch, seed: int, block_length: int = 4, process: str = "masked", **training: Any
) -> Losses:
    """The loss of a step with these settings."""
    generator = make_generator("step", seed)
    return training_loss(m, process_of(process, m), b, generator, block_length, TrainingConfig(**training))


@pytest.mark.parametrize("block_length", [4, 5, LENGTH])
def test_every_block_masks_exactly_its_share(block_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least one token of each block, of a whole text at most the highest mask rate; blocks of one text differ.

    Drafts know their first token and no other.
    """
    m, b = model(), batch(4)
    passes, shares = RecordedPasses(m, monkeypatch), set()
    for seed in range(6):
        loss_of(m, b, seed, block_length, mask_rate_min=0.3, mask_rate_max=0.7)
    for x_t, t in passes.canvases:
        for masked, share in zip(
            (x_t == CONFIG.vocab_size).split(block_length, 1), t.split(block_length, 1), strict=True
        ):
            width, drafts = masked.shape[1], (share[:, -1] == 1) & (share[:, 0] == 0)
            if width == 1:  # which is known in a draft, else masked
                continue
            assert torch.equal(masked[drafts], (torch.arange(width) > 0).expand(int(drafts.sum()), -1))
            masked, share = masked[~drafts], share[~drafts]
            if not len(share) or not share.any():
                continue
            unknown = width - int(share[0, 0] == 0)
            count = masked.sum(1)
            torch.testing.assert_close(share[:, -1] * unknown, count.to(share.dtype))
            assert bool(((share == share[:, -1:]) | (share == 0)).all())
            assert int(count.min()) > 0
            if block_length == LENGTH:
                assert 0.3 * unknown <= int(count.min()) and int(count.max()) <= math.ceil(0.7 * unknown)
            shares |= set(share[:, -1].tolist())
        known = x_t != CONFIG.vocab_size
        assert torch.equal(x_t[known], b.x0[known])
    assert len(shares) > 2
    assert block_length == LENGTH or (min(shares) < 0.3 and max(shares) == 1)


@pytest.mark.parametrize(
    ("block_length", "widest", "alike"),
    [(4, LENGTH, True), (5, LENGTH, True), (LENGTH, LENGTH, False), (LENGTH, LENGTH + 4, True)],
)
def test_masked_tokens_of_short_blocks_count_alike(
    block_length: int, widest: int, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two each, but one where all unknown tokens of a block are masked; others count 1 / rate, as in the bound.

    A text that is one block is short where others of its batch are longer.
    """
    m, rates = model(), set()
    b = batch(4)._replace(share=Share((0, 1, 2, 3), 4, widest, 50))
    passes = RecordedPasses(m, monkeypatch)
    for seed in range(4):
        losses = loss_of(m, b, seed, block_length, prompt_dropout=0.0)
        x_t, t = passes.canvases[-1]
        logits = m.head(m.joint_pass(b.x0, x_t, t, passes.conditions[-1], block_length)[1])
        nats, total = F.cross_entropy(logits.detach().mT, b.x0, reduction="none"), 0.0
        for row, column in (x_t == CONFIG.vocab_size).nonzero().tolist():
            rate = float(t[row, column])
            total += float(nats[row, column]) * ((1 if rate == 1 else 2) if alike else 1 / rate)
            rates.add(rate)
        assert float(losses.canvas) == pytest.approx(total / b.tokens, rel=1e-5)
    assert len(rates) > 2


def test_two_canvases_ask_for_every_token_once(monkeypatch: pytest.MonkeyPatch) -> None:
    m, b = model(), batch()
    passes = RecordedPasses(m, monkeypatch)
    losses = loss_of(m, b, 1, complementary=True)
    ((x_t, t),) = passes.canvases
    first, second = ((part == CONFIG.vocab_size) for part in x_t.chunk(2, 1))
    assert bool((first ^ second)[:, 1:].all()) and not (first | second)[:, 0].any()
    one, other = t.chunk(2, 1)
    torch.testing.assert_close((one + other)[:, 1:], torch.ones_like(one[:, 1:]))
    total = 0.25 * losses.canvas + 0.75 * losses.next_token + losses.draft
    torch.testing.assert_close(losses.total.detach(), total)


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_the_weight_of_the_next_token_is_that_of_the_settings(weight: float) -> None:
    m, b = model(), batch()
    losses = loss_of(m, b, 3, next_token_weight=weight)
    expected = (1 - weight) * losses.canvas + weight * losses.next_token + losses.draft
    torch.testing.assert_close(losses.total.detach(), expected)
    assert (float(losses.canvas) > 0) == (weight < 1) and (float(losses.next_token) > 0) == (weight > 0)


def test_prompts_are_dropped_row_by_row_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    m, b = model(), batch(80, 4)
    passes = RecordedPasses(m, monkeypatch)
    loss_of(m, b, 1, prompt_dropout=0.25)
    kept = passes.conditions[0].mask[:, 1:].any(1)
    assert 8 <= int((~kept).sum()) <= 32  # 20 of 80, and three deviations
    assert torch.equal(passes.conditions[0].mask[kept, 1:], m.encode(b.prompt, b.prompt_mask).mask[kept, 1:])


@torch.no_grad()
def test_half_of_the_gaussian_steps_are_shown_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second half of the state is an estimate where the text is unknown, else nothing."""
    m, b = model(process="gaussian"), batch(2, 8)
    passes = RecordedPasses(m, monkeypatch)
    shown = []
    for seed in range(24):
        passes.canvases.clear()
        loss_of(m, b, seed, process="gaussian")
        x_t, t = passes.canvases[-1]
        estimate = x_t[..., x_t.shape[-1] // 2 :]
        shown.append(bool(estimate.any()))
        assert not estimate[t == 0].any() and (not shown[-1] or bool(estimate[t > 0].any(-1).all()))
    assert 6 <= sum(shown) <= 18
    passes.canvases.clear()
    for seed in range(8):
        loss_of(m, b, seed, process="gaussian", next_token_weight=1.0)
    assert not passes.canvases


def test_the_draft_head_learns_from_some_unknown_tokens_and_teaches_nothing_else() -> None:
    """From every second one of a draft, of others from every seventh."""
    m, b = model(), batch()
    x_t, t = masked_canvas(b, 4)
    x_t[1, 4], x_t[1, 5:8] = b.x0[1, 4], CONFIG.vocab_size
    condition = m.encode(b.prompt, b.prompt_mask)
    losses = losses_at(m, process_of(), b, condition, x_t, t, 4, 0.5)
    hidden = m.joint_pass(b.x0, x_t, t, condition, 4)[1].detach()
    unknown, places = (x_t == CONFIG.vocab_size).tolist(), []
    for row, columns in enumerate(unknown):
        counts = {True: row, False: row}  # of tokens in drafts, and of others
        for column in (column for column, asked in enumerate(columns) if asked):
            begin = column // 4 * 4
            in_draft = columns[begin : begin + 4] == [False, True, True, True]
            if counts[in_draft] % (2 if in_draft else 7) == 0:
                places.append((row, column))
            counts[in_draft] += 1
    assert len({row for row, _ in places}) == 3
    states = torch.stack([hidden[place] for place in places])
    told = [[int(b.x0[r, c - 1]), int(b.x0[r, c - 2]) if c % 4 > 1 else -1] for r, c in places]
    targets = torch.stack([b.x0[place] for place in places])
    expected = m.draft_loss(states, torch.tensor(told), targets).detach()
    torch.testing.assert_close(losses.draft, expected)
    states = hidden.clone().requires_grad_()
    draft_loss(m, states, b.x0, x_t == CONFIG.vocab_size, 4)[0].backward()
    assert states.grad is None


@pytest.mark.parametrize(("share", "count"), [(WHOLE, 2), (Share((0, 1), 2, 16, 14), 7)])
def test_a_text_that_is_one_block_is_a_draft_only_as_part_of_a_wider_batch(share: Share, count: int) -> None:
    """Parts then learn from the same tokens as all rows at once: of 7 unknown ones every second, in place of one."""
    m, b = model(), batch(2, 8)
    unknown = torch.arange(8).expand(2, 8) > 0
    hidden = m.canvas_pass(b.x0, torch.ones(b.x0.shape), m.encode(b.prompt, b.prompt_mask))
    assert draft_loss(m, hidden, b.x0, unknown, 8, share)[1] == count


def test_a_draft_is_a_block_of_which_only_the_first_token_is_known() -> None:
    """Whatever the length of the last block; a single known token at the end has nothing to draft."""
    known, asked = False, True
    canvases = [
        [known, asked, asked, asked, known, asked, asked],
        [asked, asked, asked, asked, asked, asked, asked],
        [known, asked, asked, known, known, asked, known],
    ]
    drafts = [[True] * 7, [False] * 7, [False] * 7]
    assert in_drafts(torch.tensor(canvases), 7, 4).tolist() == drafts
    two = torch.tensor([canvases[2] + canvases[0]])  # two canvases of one text
    assert in_drafts(two, 7, 4).tolist() == [drafts[2] + drafts[0]]


@pytest.mark.parametrize("name", ["uniform", "mixed", "gaussian"])
@pytest.mark.parametrize("chunk", [512, 7])
def test_the_loss_of_other_processes_is_the_weighted_cross_entropy(
    name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what the network and the noisy token say together, in parts and at once, with the same gradient."""
    monkeypatch.setattr("sunfish.training.loss.CHUNK_POSITIONS", chunk)
    m, b = model(process=name), batch()
    process = process_of(name, m)
    t = sample_block_times(b, 4, 0.1, 1.0, make_generator("t")).double()
    x_t, condition = process.corrupt(b.x0, t, row_generators("x")), m.encode(b.prompt, b.prompt_mask)
    losses = losses_at(m, process, b, condition, x_t, t, 4, 0.0)
    gradient = torch.autograd.grad(losses.total, m.output_scale, retain_graph=True)[0]
    logits = m.head(m.joint_pass(b.x0, x_t, t, condition, 4)[1]).float()
    likelihood = process.log_likelihood(x_t, t)
    nats = F.cross_entropy((logits if likelihood is None else logits + likelihood).mT, b.x0, reduction="none")
    scored = process.loss_mask(x_t, t)
    expected = (process.weight(x_t, t) * nats)[scored].sum() / (b.lengths - 1).sum()
    assert float(losses.canvas) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(losses.cross_entropy) == pytest.approx(float(nats[scored].mean().detach()), rel=1e-5)
    torch.testing.assert_close(
        gradient, torch.autograd.grad(expected, m.output_scale)[0], rtol=1e-4, atol=1e-7
    )
