"""Texts longer than the context: greedy writing against reading each window anew, token by token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sunfish.config import ProcessConfig
from sunfish.config.sampling import SamplingSettings
from sunfish.processes import build_process
from sunfish.rng import Streams
from sunfish.sampling.block_diffusion import Snapshot, snapshots
from sunfish.sampling.logits import Writable
from sunfish.sampling.sliding_window import windows
from sunfish.sampling.speculative import verified_snapshots
from sunfish.types import Condition
from tests.helpers import CONFIG, END, batch, model

CONTEXT, LENGTH, KEPT = CONFIG.context_length, 61, CONFIG.context_length // 2 - 1


def prompt(rows: slice) -> Condition:
    b = batch()
    return model().encode(b.prompt[rows], b.prompt_mask[rows])


def write(rows: slice, settings: SamplingSettings, never: tuple[int, ...] = (END,), seed: int = 0) -> Tensor:
    """Ids ``[B, <= LENGTH]`` of rows of the batch's prompts, the start mark first."""
    m, process, cond = (
        Writable(model(), CONFIG.vocab_size, never),
        build_process(ProcessConfig()),
        prompt(rows),
    )

    def go_on(prefix: Tensor, length: int, rng: Streams) -> Iterator[Snapshot]:
        assert length <= CONTEXT
        if settings.sampler == "verified":
            return verified_snapshots(m, process, cond, prefix, length, rng, settings, END)
        given = torch.nn.functional.pad(prefix, (0, length - prefix.shape[1]), value=END)
        free = torch.arange(length).expand_as(given) >= prefix.shape[1]
        return snapshots(m, process, cond, given, free, rng, settings, END)

    start = torch.full((len(cond.mask), 1), END)
    rng = Streams.for_rows(seed, rows.start, len(cond.mask))
    states = list(windows(go_on, start, LENGTH, CONTEXT, rng, END))
    done = [state for state in states if state.done]
    assert [state.start for state in done] == [sum(d.x.shape[1] for d in done[:i]) for i in range(len(done))]
    return torch.cat([state.x for state in done], dim=1)


@torch.no_grad()
def test_greedy_writing_is_that_of_each_window_read_anew() -> None:
    for block_length in (1, 4):
        settings = SamplingSettings(temperature=0, block_length=block_length)
        ids = write(slice(0, 1), settings)[0].tolist()
        m, cond, text = Writable(model(), CONFIG.vocab_size, (END,)), prompt(slice(0, 1)), [END]
        window = [END]
        while len(text) < LENGTH:
            if len(window) == CONTEXT:
                window = [END, *window[-KEPT:]]
            _, logits = m.remember(torch.tensor([window]), cond)
            window.append(int(logits[0, -1].argmax()))
            text.append(window[-1])
        assert ids == text


@pytest.mark.parametrize("block", [5, 8, 0])
def test_a_long_text_does_not_depend_on_its_batch(block: int) -> None:
    settings = SamplingSettings(num_steps=4, sampler="ancestral", block_length=block, temperature=3)
    together = write(slice(0, 3), settings)
    assert together.shape == (3, LENGTH)
    for row in range(3):
        assert torch.equal(write(slice(row, row + 1), settings), together[row : row + 1])
    windows_of = together[0, 1:].unfold(0, 12, 12)
    assert len({tuple(part.tolist()) for part in windows_of}) == len(windows_of)  # no draw is used twice


def test_writing_stops_where_all_texts_have_ended() -> None:
    """Rows that ended wait for the others; what stands behind their end is never read or told as text."""
    settings = SamplingSettings(num_steps=4, sampler="ancestral", block_length=4, temperature=1)
    ends = []
    for seed in range(12):
        ids = write(slice(0, 3), settings, (), seed)
        found = ids[:, 1:] == END
        ends.append([int(row.int().argmax()) + 2 if row.any() else LENGTH for row in found])
        assert ids.shape[1] == min(LENGTH, -(-max(ends[-1]) // 4) * 4) or max(ends[-1]) > CONTEXT
        alone = write(slice(0, 1), settings, (), seed)[0].tolist()
        assert alone[: ends[-1][0]] == ids[0, : ends[-1][0]].tolist()
    assert any(max(rows) > CONTEXT > min(rows) for rows in ends)
