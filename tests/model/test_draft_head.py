"""Causal pass and drafts in one pass equal separate passes; the draft head learns, and learns alone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.config import TrainingConfig
from sunfish.model.draft_head import DraftHead
from sunfish.model.transformer import Transformer
from sunfish.processes import process_builders
from sunfish.rng import make_generator
from sunfish.training.loss import draft_loss, training_loss
from sunfish.types import Batch
from tests.helpers import CONFIG, WITHOUT_PROMPTS, batch, model, process_of, row_generators, row_of
from tests.laws.plain_transformer import unit

WITHOUT_HEAD = replace(CONFIG, draft_head=False)


@torch.no_grad()
@pytest.mark.parametrize("starts", [[0, 0, 0], [6, 6, 6], [9, 4, 0]], ids=["begin", "even", "ragged"])
@pytest.mark.parametrize("name", process_builders())
def test_one_pass_is_a_causal_pass_and_a_canvas_after_every_token(name: str, starts: list[int]) -> None:
    network, texts = model(process=name), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    start = starts[0] if len(set(starts)) == 1 else torch.tensor(starts)
    cache = network.prefill(texts.x0[:, : max(starts)], condition)[1] if max(starts) else None
    ids = torch.randint(1, 20, (3, 3), generator=make_generator("ids"))
    noise = ids.repeat_interleave(4, dim=1)
    t = torch.ones(noise.shape)
    x = process_of(name, network).corrupt(noise, t, row_generators("noise"))
    logits, grown, draft_at = network.prefill_and_draft(ids, x, t, condition, cache, start)
    expected, expected_cache = network.prefill(ids, condition, cache, start)
    torch.testing.assert_close(logits, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(grown.keys_values, expected_cache.keys_values, atol=1e-10, rtol=0)
    index, previous = torch.tensor([2, 0, 1]), torch.tensor([[5, 7, 11], [1, 2, 3], [9, 9, 4]])
    draft = draft_at(index)
    assert draft.conditional_logits is not None
    conditional = draft.conditional_logits(None)(previous)
    for row, (begin, i) in enumerate(zip(starts, index.tolist(), strict=True)):
        rows, alone, window = slice(row, row + 1), row_of(condition, row), slice(4 * i, 4 * i + 4)
        text = torch.cat([texts.x0[rows, :begin], ids[rows, : i + 1]], dim=1)
        _, before = network.prefill(text, alone)
        separate = network.draft(x[rows, window], t[rows, window], alone, before, begin + i + 1)
        assert separate.conditional_logits is not None
        marginal, alone_logits = draft.marginal_logits(3)[rows], separate.marginal_logits(1)
        torch.testing.assert_close(marginal, alone_logits, atol=1e-10, rtol=0)
        expected = separate.conditional_logits(None)(previous[rows])
        torch.testing.assert_close(conditional[rows], expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_a_draft_is_given_the_two_tokens_before_each_position() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    masks, t = torch.full((3, 6), CONFIG.vocab_size), torch.ones(3, 6)
    draft, canvas = network.draft(masks, t, condition, None, 0), network.denoise(masks, t, condition)[:, 1:]
    torch.testing.assert_close(draft.marginal_logits(3), canvas)
    assert draft.conditional_logits is not None and network.draft_head is not None
    ids, other = torch.tensor([[1, 2, 3, 4, 6]] * 3), torch.tensor([[1, 5, 3, 4, 6]] * 3)
    first, second = (draft.conditional_logits(None)(given) for given in (ids, other))
    changed = (first != second).any(-1)
    assert changed.tolist() == [[False, True, True, False, False]] * 3  # only after the token that differs
    network.draft_head.down_proj.weight.zero_()  # as it begins
    torch.testing.assert_close(draft.conditional_logits(None)(ids), canvas)


@torch.no_grad()
def test_a_draft_given_a_token_is_what_its_formula_says() -> None:
    """h + down(silu(gate) * up) of [h, previous, the one before], each of root mean square 1, then the output layer.

    The first token of a draft has one token before it, and zeros in place of a second.
    """
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    masks, t = torch.full((3, 4), CONFIG.vocab_size), torch.ones(3, 4)
    draft, hidden = network.draft(masks, t, condition, None, 0), network.canvas_pass(masks, t, condition)
    previous = texts.x0[:, 5:8]
    assert draft.conditional_logits is not None
    actual = draft.conditional_logits(None)(previous)
    for row, place in itertools.product(range(3), range(3)):
        told = [int(previous[row, i]) if i >= 0 else None for i in (place, place - 1)]
        expected = by_formula(network, hidden[row, 1 + place], told)
        torch.testing.assert_close(actual[row, place], expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_candidates_have_the_logits_that_they_have_among_all() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    masks, t = torch.full((3, 6), CONFIG.vocab_size), torch.ones(3, 6)
    draft, ids = network.draft(masks, t, condition, None, 0), texts.x0[:, 5:10]
    assert draft.vocab_size == CONFIG.vocab_size
    assert draft.conditional_logits is not None
    candidates = torch.randint(CONFIG.vocab_size, (3, 7), generator=make_generator("some"))
    some = draft.conditional_logits(candidates)(ids)
    every = candidates[:, None].expand(-1, 5, -1)
    torch.testing.assert_close(some, draft.conditional_logits(None)(ids).gather(2, every))


@torch.no_grad()
def test_ids_are_as_likely_as_at_the_place_where_they_are_likeliest() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    masks, t = torch.full((3, 6), CONFIG.vocab_size), torch.ones(3, 6)
    draft = network.draft(masks, t, condition, None, 0)
    shares = torch.softmax(draft.marginal_logits(2), -1)
    anywhere, at_places = draft.likely_ids(4, 2)
    assert shares.shape == (2, 5, CONFIG.vocab_size) and anywhere.shape == (2, 4)
    for row in range(2):
        assert at_places[row].tolist() == [int(place.argmax()) for place in shares[row]]
        best = [max(float(place[i]) for place in shares[row]) for i in range(CONFIG.vocab_size)]
        assert anywhere[row].tolist() == sorted(sorted(range(CONFIG.vocab_size), key=lambda i: -best[i])[:4])


def by_formula(network: Transformer, state: Tensor, told: list[int | None]) -> Tensor:
    """Logits ``[V]`` of a canvas state ``[D]``, told the token before it and the one before that."""
    head, state = network.draft_head, unit(state)
    assert head is not None
    tokens = [
        torch.zeros_like(state) if token is None else unit(network.token_embedding[token]) for token in told
    ]
    gate, up = (head.up_proj.weight @ torch.cat([state, *tokens])).chunk(2)
    refined = unit(state + head.down_proj.weight @ (F.silu(gate) * up))
    return network.token_embedding[:-1] @ (refined * network.output_scale)


@pytest.mark.parametrize(("width", "hidden"), [(16, 6), (64, 24), (256, 96), (768, 96)])
def test_the_head_is_small(width: int, hidden: int) -> None:
    head = DraftHead(replace(CONFIG, n_embd=width))
    assert head.up_proj.weight.shape == (2 * hidden, 3 * width)
    assert head.down_proj.weight.shape == (width, hidden)


@torch.no_grad()
def test_without_a_head_a_draft_is_the_canvas() -> None:
    network, texts = model(config=WITHOUT_HEAD), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    masks, t = torch.full((3, 4), CONFIG.vocab_size), torch.ones(3, 4)
    draft = network.draft(masks, t, condition, None, 0)
    torch.testing.assert_close(draft.marginal_logits(3), network.denoise(masks, t, condition)[:, 1:])
    assert draft.conditional_logits is None
    _, _, draft_at = network.prefill_and_draft(texts.x0[:, :1], masks, t, condition, None, 0)
    assert draft_at(torch.zeros(3, dtype=torch.long)).conditional_logits is None
    hidden = network.canvas_pass(masks, t, condition)[:, 0]
    assert float(network.draft_loss(hidden, texts.x0[:, :2], texts.x0[:, 2])) == 0


def test_only_the_draft_head_learns_from_its_loss() -> None:
    network, texts = model(), batch()
    condition = network.encode(texts.prompt, texts.prompt_mask)
    hidden = network.canvas_pass(texts.x0, torch.ones(texts.x0.shape), condition)
    scored = torch.arange(16).expand(3, 16) > 0
    loss, count = draft_loss(network, hidden, texts.x0, scored, 8)
    loss.backward()
    learned = {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert learned == {"draft_head.up_proj.weight", "draft_head.down_proj.weight"}
    # The first block is a draft: every second token of it, and every seventh of the second block, others in each row.
    draft = [(0, 1), (0, 3), (0, 5), (0, 7), (1, 2), (1, 4), (1, 6), (2, 1), (2, 3), (2, 5), (2, 7)]
    places = [*draft, (0, 8), (0, 15), (1, 14), (2, 13)]
    assert count == len(places)
    logits = []
    for row, place in places:
        second = int(texts.x0[row, place - 2]) if place % 8 > 1 else None  # of this block
        told = [int(texts.x0[row, place - 1]), second]
        logits.append(by_formula(network, hidden[row, place], told))
    row, place = torch.tensor(places).T
    expected = F.cross_entropy(torch.stack(logits), texts.x0[row, place])
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_training_teaches_the_head_and_leaves_everything_else_as_it_is() -> None:
    with_head, without = model(), model(config=WITHOUT_HEAD)
    without.load_state_dict(with_head.state_dict(), strict=False)
    for network in (with_head, without):
        losses = training_loss(network, process_of(), batch(), make_generator("x"), 4, TrainingConfig())
        losses.total.backward()
        assert (float(losses.draft) > 0) == (network is with_head)
    gradients = {name: parameter.grad for name, parameter in with_head.named_parameters()}
    assert gradients["draft_head.up_proj.weight"] is not None
    assert bool(gradients["draft_head.up_proj.weight"].any())
    for name, parameter in without.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name])


@pytest.mark.slow
def test_the_head_learns_what_the_canvas_alone_cannot_know() -> None:
    """Texts of one repeated token: the canvas guesses 1 of 4; given the token before, all are known."""
    network, process = model(torch.float32, WITHOUT_PROMPTS), process_of()
    training = TrainingConfig(mask_rate_min=0.99, mask_rate_max=1.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for step in range(150):
        kind = torch.randint(1, 5, (16, 1), generator=make_generator("kind", step))
        x0 = torch.cat([torch.zeros_like(kind), kind.expand(-1, 4)], dim=1)
        nothing = torch.zeros(16, 0, dtype=torch.long)
        texts = Batch(x0, torch.full((16,), 5), nothing, nothing.bool())
        losses = training_loss(network, process, texts, make_generator("step", step), 5, training)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses.cross_entropy.item() > 1.2 and losses.draft.item() < 0.8
