"""Revision: the block never becomes less likely, given tokens stay, rows do not depend on one another."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch

from sunfish.config import ProcessConfig
from sunfish.config.sampling import SamplingSettings
from sunfish.processes import build_process
from sunfish.rng import Streams
from sunfish.sampling.block_diffusion import generate
from sunfish.sampling.guidance import Guided
from sunfish.sampling.logits import sharpen
from sunfish.sampling.remasking import Reader, revised
from tests.helpers import CONFIG, batch, model

SHARP = partial(sharpen, settings=SamplingSettings(temperature=0.5))


def test_reading_gives_each_token_its_own_probability() -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    _, whole = m.remember(b.x0, cond)
    expected = torch.log_softmax(whole, -1)[:, :-1].gather(-1, b.x0[:, 1:, None]).squeeze(-1)
    own, favourite = Reader(m, cond, None, None).read(b.x0[:, :8])
    torch.testing.assert_close(own[:, 1:], expected[:, :7], atol=1e-10, rtol=0)
    assert not own[:, 0].any()
    past, logits = m.remember(b.x0[:, :8], cond)
    own, favourite = Reader(m, cond, past, logits[:, -1:]).read(b.x0[:, 8:])
    torch.testing.assert_close(own, expected[:, 7:], atol=1e-10, rtol=0)
    assert (favourite >= own).all() and (favourite > own).any()


@torch.no_grad()
def test_the_likelihood_rises_and_given_tokens_stay() -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    past, logits = m.remember(b.x0[:, :8], cond)
    reader, ids = Reader(m, cond, past, logits[:, -1:]), b.x0[:, 8:]
    open_ = torch.ones_like(ids, dtype=torch.bool)
    open_[:, 3] = False
    process, rng = build_process(ProcessConfig()), Streams.for_rows(0, 0, 3)
    totals = [reader.read(ids)[0].sum(1)]
    for version in revised(reader, process, ids, open_, 8, 24, SHARP, rng):
        assert torch.equal(version[:, 3], ids[:, 3])
        assert int(version.max()) < CONFIG.vocab_size  # no mask is left
        totals.append(reader.read(version)[0].sum(1))
    assert len(totals) > 3
    assert all((after >= before).all() for before, after in pairwise(totals))
    assert (totals[-1] > totals[0] + 1).all()


def test_a_text_does_not_depend_on_its_batch() -> None:
    m, b = model(), batch()
    process = build_process(ProcessConfig())
    settings = SamplingSettings(num_steps=2, sampler="confidence", block_length=8, revisions=3)
    free = torch.ones_like(b.x0, dtype=torch.bool)
    free[:, 0] = False

    def write(rows: list[int]) -> torch.Tensor:
        cond = m.encode(b.prompt[rows], b.prompt_mask[rows])
        rng = Streams([Streams.for_rows(5, row, 1).generators[0] for row in rows])
        blocks = generate(Guided(m, 2.0), process, cond, b.x0[rows], free[rows], rng, settings)
        return torch.cat(list(blocks), dim=1)

    together = write([0, 1, 2])
    for row in range(3):
        assert torch.equal(write([row])[0], together[row])


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match="revisions is -1"):
        SamplingSettings(revisions=-1)
    with pytest.raises(ValueError, match="verified reads every token"):
        SamplingSettings(revisions=1)
