"""Texts longer than the context: greedy texts against each window computed anew, token by token."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.transformer import Transformer
from sunfish.rng import RowGenerators
from sunfish.sampling.block_diffusion import Snapshot, block_diffusion
from sunfish.sampling.logits import VocabularyMask
from sunfish.sampling.sliding_window import sliding_window
from sunfish.sampling.speculative import speculative_decoding
from sunfish.types import Condition
from tests.helpers import CONFIG, END, batch, finished, model, process_of

CONTEXT, LENGTH, KEPT = CONFIG.context_length, 61, CONFIG.context_length // 2 - 1


@functools.cache
def network() -> Transformer:
    """A model that turns away from what the text has already, so that a greedy text is no single token repeated."""
    drawn = model()
    with torch.no_grad():
        drawn.copy_head.scale.mul_(-4)
    return drawn


def prompts(rows: slice) -> Condition:
    b = batch()
    return network().encode(b.prompt[rows], b.prompt_mask[rows])


def write(
    rows: slice, config: GenerationConfig, banned_ids: tuple[int, ...] = (END,), seed: int = 0
) -> Tensor:
    """Ids ``[B, <= LENGTH]`` for rows of the batch's prompts, the start mark first."""
    denoiser = VocabularyMask(network(), CONFIG.vocab_size, banned_ids)
    process, condition = process_of("masked"), prompts(rows)

    def extend(prefix: Tensor, length: int, rng: RowGenerators) -> Iterator[Snapshot]:
        assert length <= CONTEXT
        if config.is_verified:
            return speculative_decoding(denoiser, process, condition, prefix, length, rng, config, END)
        ids = torch.nn.functional.pad(prefix, (0, length - prefix.shape[1]), value=END)
        free = torch.arange(length).expand_as(ids) >= prefix.shape[1]
        return block_diffusion(denoiser, process, condition, ids, free, rng, config, END)

    start = torch.full((len(condition.mask), 1), END)
    rng = RowGenerators.for_rows(seed, rows.start, len(condition.mask))
    states = list(sliding_window(extend, start, LENGTH, CONTEXT, rng, END))
    done = [state for state in states if state.done]
    assert [state.start for state in done] == [sum(d.x.shape[1] for d in done[:i]) for i in range(len(done))]
    return finished(done)


@functools.cache
@torch.no_grad()
def windows_anew(row: int, kept: int) -> list[int]:
    """The greedy text of one row: a full window is followed by one that begins with the last ``kept`` tokens."""
    denoiser, condition = VocabularyMask(network(), CONFIG.vocab_size, (END,)), prompts(slice(row, row + 1))
    text, window = [END], [END]
    while len(text) < LENGTH:
        if len(window) == CONTEXT:
            window = [END, *window[-kept:]]
        logits, _ = denoiser.prefill(torch.tensor([window]), condition)
        window.append(int(logits[0, -1].argmax()))
        text.append(window[-1])
    return text


@pytest.mark.parametrize("block_length", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_greedy_text_is_that_of_each_window_computed_anew(block_length: int) -> None:
    ids = write(slice(0, 3), GenerationConfig(temperature=0, block_length=block_length)).tolist()
    for row, text in enumerate(ids):
        assert text == windows_anew(row, KEPT)
        assert len(set(text)) > 7  # not one token again and again, which any overlap would continue
    for kept in (1, KEPT - 1, KEPT + 1):
        assert ids[0] != windows_anew(0, kept)


@pytest.mark.parametrize("block_length", [5, pytest.param(8, marks=pytest.mark.slow), 0])
def test_a_long_text_does_not_depend_on_its_batch(block_length: int) -> None:
    config = GenerationConfig(num_steps=4, sampler="ancestral", block_length=block_length, temperature=3)
    together = write(slice(0, 3), config)
    assert together.shape == (3, LENGTH)
    for row in range(3):
        assert torch.equal(write(slice(row, row + 1), config), together[row : row + 1])
    parts = together[0, 1:].unfold(0, 12, 12)
    assert len({tuple(part.tolist()) for part in parts}) == len(parts)  # no draw is used twice


@pytest.mark.slow
def test_it_stops_where_all_texts_have_ended() -> None:
    """Rows that ended wait for the others; what follows their end is never read, nor part of the text."""
    config = GenerationConfig(num_steps=4, sampler="ancestral", block_length=4, temperature=3)
    ends = []
    for seed in range(12):
        ids = write(slice(0, 3), config, (), seed)
        is_end = ids[:, 1:] == END
        ends.append([int(row.int().argmax()) + 2 if row.any() else LENGTH for row in is_end])
        assert ids.shape[1] == min(LENGTH, -(-max(ends[-1]) // 4) * 4) or max(ends[-1]) > CONTEXT
        alone = write(slice(0, 1), config, (), seed)[0].tolist()
        assert alone[: ends[-1][0]] == ids[0, : ends[-1][0]].tolist()
    assert any(max(rows) > CONTEXT > min(rows) for rows in ends)


class Writer:
    """Writes windows block by block as block diffusion does: at place p of window w, the id 100 w + p."""

    BLOCK = 4

    def __init__(self, ends: dict[tuple[int, int], int]) -> None:
        """``ends``: the place of an end mark, by window and row."""
        self.ends = ends
        self.calls: list[tuple[list[list[int]], int]] = []
        self.draws: list[float] = []

    def __call__(self, prefix: Tensor, length: int, rng: RowGenerators) -> Iterator[Snapshot]:
        number = len(self.calls)
        self.calls.append((prefix.tolist(), length))
        self.draws.append(float(rng.uniform(len(prefix))[0]))
        ids = (100 * number + torch.arange(length)).repeat(len(prefix), 1)
        for (window, row), place in self.ends.items():
            if window == number:
                ids[row, place] = END
        for first in range(0, length, self.BLOCK):
            block = slice(first, first + self.BLOCK)
            yield Snapshot(first, torch.full_like(ids[:, block], END), False)  # a draft ends no text
            yield Snapshot(first, ids[:, block], True)


def states_of(writer: Writer, rows: int, length: int) -> list[tuple[int, list[list[int]], bool]]:
    start, rng = torch.full((rows, 1), END), RowGenerators.for_rows(0, 0, rows)
    states = sliding_window(writer, start, length, 8, rng, END)
    return [(state.start, state.x.tolist(), state.done) for state in states]


def test_every_state_has_its_place_in_the_text() -> None:
    writer = Writer({})
    states = states_of(writer, 1, 14)
    assert [(start, ids[0]) for start, ids, done in states if done] == [
        (0, [END]),
        (1, [1, 2, 3]),
        (4, [4, 5, 6, 7]),
        (8, [104, 105, 106, 107]),
        (12, [204, 205]),
    ]
    assert [(start, len(ids[0])) for start, ids, done in states if not done] == [
        (1, 3),
        (4, 4),
        (8, 4),
        (12, 2),
    ]
    # Eight positions of context: the start mark, the last three tokens, four new ones; at last the two that lack.
    assert writer.calls == [([[END]], 8), ([[END, 5, 6, 7]], 8), ([[END, 105, 106, 107]], 6)]


def test_each_window_draws_numbers_of_its_own() -> None:
    writer, rng = Writer({}), RowGenerators.for_rows(0, 0, 1)
    states_of(writer, 1, 14)
    forks = [rng, *(rng.fork("window", number) for number in (1, 2))]
    assert writer.draws == [float(fork.uniform(1)[0]) for fork in forks]


@pytest.mark.parametrize("length", [2, 7, 8])
def test_a_text_that_fits_is_one_window(length: int) -> None:
    writer = Writer({})
    states = states_of(writer, 2, length)
    assert writer.calls == [([[END], [END]], length)]
    written = [token for _, ids, done in states if done for token in ids[0]]
    assert written == [END, *range(1, length)]


def test_rows_that_have_ended_wait_as_end_marks() -> None:
    writer = Writer({(0, 0): 5, (1, 1): 6, (2, 0): 4})
    states = states_of(writer, 2, 40)
    assert [prefix for prefix, _ in writer.calls] == [[[END], [END]], [[END] * 4, [END, 5, 6, 7]]]
    assert states[-1] == (8, [[104, 105, 106, 107], [104, 105, END, 107]], True)
