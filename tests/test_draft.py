"""Reading and drafting in one pass is what several passes are; the draft head learns, and learns alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from sunfish.config import ProcessConfig, TrainingConfig
from sunfish.model.kernels.autograd import normalise
from sunfish.model.masks import ahead_mask, behind_each
from sunfish.processes import build_process
from sunfish.rng import Streams, generator_of
from sunfish.training.loss import draft_loss, objective, places
from tests.helpers import CONFIG, batch, config_of, model


def test_who_sees_whom_closed_form() -> None:
    place, sees = behind_each(2, 2, torch.device("cpu"))
    assert place.tolist() == [0, 1, 1, 2, 2, 3]
    assert sees.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 1, 0, 0],
        [1, 0, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 1],
        [1, 1, 0, 0, 1, 1],
    ]
    assert torch.equal(ahead_mask(3, 3, sees), F.pad(sees, (3, 0), value=True))
    ragged = ahead_mask(torch.tensor([3, 1]), 3, sees)
    assert ragged.shape == (2, 1, 6, 9) and torch.equal(ragged[0, 0], ahead_mask(3, 3, sees))
    assert ragged[1, 0, :, :3].int().tolist() == [[1, 0, 0]] * 6


@torch.no_grad()
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("process", ["masked", "uniform", "gaussian"])
def test_one_pass_is_reading_and_a_canvas_behind_every_token(process: str, ragged: bool) -> None:
    m, b = model(config=config_of(process)), batch()
    corruption = build_process(ProcessConfig(process=process))
    cond = m.encode(b.prompt, b.prompt_mask)
    starts = torch.tensor([9, 4, 0]) if ragged else torch.tensor([6, 6, 6])
    past, _ = m.remember(b.x0[:, : int(starts.max())], cond)
    ids = torch.randint(1, 20, (3, 3), generator=generator_of("ids"))
    noise = ids.repeat_interleave(4, dim=1)
    t = torch.ones(noise.shape)
    states = corruption.corrupt(noise, t, m.table, Streams([generator_of("noise")]))
    grown, logits, drafts = m.read_and_draft(ids, cond, past, starts if ragged else 6, states, t)
    expected, read = m.remember(ids, cond, past, starts if ragged else 6)
    torch.testing.assert_close(grown, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(logits, read, atol=1e-10, rtol=0)
    assert drafts is not None
    at, before = torch.tensor([2, 0, 1]), torch.tensor([[5, 7, 11], [1, 2, 3], [9, 9, 4]])
    draft = drafts(at)
    for row, (start, i) in enumerate(zip(starts.tolist(), at.tolist(), strict=True)):
        one, alone = slice(row, row + 1), m.encode(b.prompt[row : row + 1], b.prompt_mask[row : row + 1])
        text = torch.cat([b.x0[one, :start], ids[one, : i + 1]], dim=1)
        memory = m.remember(text, alone)[0]
        canvas = slice(4 * i, 4 * i + 4)
        apart = m.draft(states[one, canvas], t[one, canvas], alone, memory, start + i + 1)
        assert draft.told is not None and apart.told is not None
        torch.testing.assert_close(draft.alone[one], apart.alone, atol=1e-10, rtol=0)
        torch.testing.assert_close(draft.told(before)[one], apart.told(before[one]), atol=1e-10, rtol=0)


@torch.no_grad()
def test_a_draft_is_told_the_token_before_and_is_the_canvas_without_a_head() -> None:
    b = batch()
    for head in (True, False):
        m = model(config=replace(CONFIG, draft_head=head))
        cond = m.encode(b.prompt, b.prompt_mask)
        x = torch.full((3, 4), CONFIG.vocab_size)
        draft = m.draft(x, torch.ones(3, 4), cond, None, 0)
        canvas = m(x, torch.ones(3, 4), cond, None, 0)[:, 1:]
        torch.testing.assert_close(draft.alone, canvas)
        assert (draft.told is not None) == head
        if draft.told is not None:
            one = torch.tensor([[1, 2, 3], [1, 2, 3], [1, 2, 3]])
            other = torch.tensor([[1, 5, 3], [1, 5, 3], [1, 5, 3]])
            differs = (draft.told(one) != draft.told(other)).any(-1)
            assert differs.tolist() == [[False, True, False]] * 3  # only behind the token that differs
            m.draft_head.down.weight.zero_()  # as it begins
            torch.testing.assert_close(draft.told(one), canvas)


def test_a_canvas_with_a_decoder_needs_a_pass_of_its_own() -> None:
    m, b = model(config=replace(CONFIG, n_layer=2, n_decoder_layer=1)), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    assert m.read_and_draft(b.x0[:, :2], cond, None, 0, b.x0[:, :4], torch.ones(3, 4))[2] is None


def test_only_the_draft_head_learns_from_its_loss() -> None:
    m, b = model(), batch()
    hidden = m.canvas(b.x0, torch.ones(b.x0.shape), m.encode(b.prompt, b.prompt_mask))
    scored = torch.zeros(b.x0.shape, dtype=torch.bool)
    scored[:, 1:] = True
    loss = draft_loss(m, hidden, b.x0, places(scored))
    loss.backward()
    touched = {name for name, p in m.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert touched == {"draft_head.up.weight", "draft_head.down.weight"}
    # The same figure from nothing but the forward pass and PyTorch's own cross-entropy, in float64.
    row, place = scored.nonzero()[::7].unbind(1)
    before = m.table[b.x0[row, place - 1]]
    logits = F.linear(normalise(m.draft_head(hidden[row, place], before)) * m.output_gain, m.table[:-1])
    assert loss.item() == pytest.approx(F.cross_entropy(logits, b.x0[row, place]).item(), abs=1e-5)


def test_the_objective_teaches_the_head_and_leaves_everything_else_as_it_is() -> None:
    with_head, without = model(), model(config=replace(CONFIG, draft_head=False))
    without.load_state_dict(with_head.state_dict(), strict=False)
    for m in (with_head, without):
        losses = objective(m, build_process(ProcessConfig()), batch(), generator_of("g"), 4, TrainingConfig())
        losses.total.backward()
        assert (float(losses.draft) > 0) == (m is with_head)
    own = dict(with_head.named_parameters())
    assert bool(own["draft_head.up.weight"].grad.any())
    for name, parameter in without.named_parameters():
        torch.testing.assert_close(parameter.grad, own[name].grad)


def test_the_head_learns_what_the_canvas_alone_cannot_know() -> None:
    """Texts of one token repeated, which nothing tells: alone 1 of 4 is guessed, told the first one all are known."""
    m = model(config=replace(CONFIG, prompt_length=0)).float()
    process, training = (
        build_process(ProcessConfig()),
        TrainingConfig(exact_count=True, mask_rate_min=0.99, mask_rate_max=1.0),
    )
    optimizer = torch.optim.AdamW(m.parameters(), lr=0.01)
    for step in range(150):
        kind = torch.randint(1, 5, (16, 1), generator=generator_of("kind", step))
        x0 = torch.cat([torch.zeros_like(kind), kind.expand(-1, 4)], dim=1)
        nothing = torch.zeros(16, 0, dtype=torch.long)
        b = batch()._replace(x0=x0, lengths=torch.full((16,), 5), prompt=nothing, prompt_mask=nothing.bool())
        losses = objective(m, process, b, generator_of("s", step), 0, training)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses.cross_entropy.item() > 1.2 and losses.draft.item() < 0.8
