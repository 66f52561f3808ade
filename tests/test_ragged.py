"""Rows of one batch that stand at different places: each is what it would be alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sunfish.config import Config, ModelConfig, ProcessConfig
from sunfish.config.sampling import SamplingSettings
from sunfish.model.masks import ragged_mask
from sunfish.processes import build_process
from sunfish.rng import Streams, generator_of
from sunfish.sampling.guidance import Guided
from sunfish.sampling.speculative import verified_snapshots
from sunfish.types import Condition
from tests.helpers import CONFIG, END, batch, model


def of_row(cond: Condition, row: int) -> Condition:
    one = slice(row, row + 1)
    return Condition(cond.keys[:, one], cond.values[:, one], cond.mask[one])


def test_ragged_mask_closed_form() -> None:
    mask = ragged_mask(torch.tensor([2, 0]), 3, 2, causal=True)
    assert mask.shape == (2, 1, 2, 5)
    assert mask[0, 0].int().tolist() == [[1, 1, 0, 1, 0], [1, 1, 0, 1, 1]]
    assert mask[1, 0].int().tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert ragged_mask(torch.tensor([1]), 1, 2, causal=False).all()


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, n_layer=3, n_decoder_layer=1),
        Config(model=CONFIG, process=ProcessConfig(process="uniform")).model,
    ],
    ids=["shared", "decoder", "uniform"],
)
def test_a_row_reads_and_denoises_as_it_would_alone(config: ModelConfig) -> None:
    m, b = model(config=config), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    starts = torch.tensor([9, 4, 0])
    past, _ = m.remember(b.x0[:, :9], cond)
    new = torch.randint(1, 20, (3, 5), generator=generator_of("new"))
    t = torch.ones(3, 5)
    t[:, 0] = 0.0
    canvas = m(new, t, cond, past, starts)
    grown, read = m.remember(new, cond, past, starts)
    for row, start in enumerate(starts.tolist()):
        one, own = of_row(cond, row), slice(row, row + 1)
        before = m.remember(b.x0[own, :start], one)[0] if start else None
        torch.testing.assert_close(canvas[own], m(new[own], t[own], one, before, start), atol=1e-10, rtol=0)
        alone, logits = m.remember(new[own], one, before)
        torch.testing.assert_close(read[own], logits, atol=1e-10, rtol=0)
        torch.testing.assert_close(grown[:, :, own, :, 9:], alone[:, :, :, :, start:], atol=1e-10, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("sampler,block_length", [("verified", 1), ("verified", 7), ("verified:1", 4)])
def test_texts_of_a_batch_are_those_written_alone(scale: float, sampler: str, block_length: int) -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    guided = Guided(m, scale)
    settings = SamplingSettings(sampler=sampler, block_length=block_length, temperature=5.0)
    process, length = build_process(ProcessConfig()), CONFIG.context_length
    prefix = torch.cat([torch.full((3, 1), END), b.x0[:, 1:3]], dim=1)

    def text(rows: slice, where: Condition, name: str) -> list[list[int]]:
        rng = Streams([generator_of(name, row) for row in range(3)[rows]])
        states = list(verified_snapshots(guided, process, where, prefix[rows], length, rng, settings, END))
        done = [state for state in states if state.done]
        # What is final follows on what was final before, without gaps.
        places = [state.start for state in done]
        assert places == [3 + sum(state.x.shape[1] for state in done[:i]) for i in range(len(done))]
        written = torch.cat([state.x for state in done], dim=1).tolist()
        assert all(END not in row or set(row[row.index(END) :]) == {END} for row in written)
        return [row[: row.index(END) + 1] if END in row else row for row in written]

    ragged = 0
    for name in ("first", "second", "third", "fourth", "fifth"):
        together = text(slice(0, 3), cond, name)
        ragged += len({len(row) for row in together}) > 1
        assert together == [text(slice(row, row + 1), of_row(cond, row), name)[0] for row in range(3)]
    assert ragged  # else all texts ended together


def test_no_row_is_written_beyond_the_length() -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    rng = Streams([generator_of("row", row) for row in range(3)])
    settings = SamplingSettings(block_length=6, temperature=1.0)
    start = torch.full((3, 1), END)
    states = verified_snapshots(m, build_process(ProcessConfig()), cond, start, 11, rng, settings)
    ids = torch.cat([state.x for state in states if state.done], dim=1)
    assert ids.shape == (3, 10) and bool((ids >= 0).all())


def test_a_start_that_is_not_behind_the_memory_is_refused() -> None:
    m, b = model(), batch()
    with pytest.raises(ValueError, match="start is 3, but 0 tokens"):
        m.remember(b.x0, m.encode(b.prompt, b.prompt_mask), None, 3)
