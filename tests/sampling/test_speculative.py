"""Speculative decoding of a batch whose rows stand at different places: each is what it would be alone."""

from __future__ import annotations

import pytest
import torch

from sunfish.config import GenerationConfig
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.guidance import ClassifierFreeGuidance
from sunfish.sampling.speculative import speculative_accept, speculative_decoding
from sunfish.types import Condition
from tests.helpers import CONFIG, END, batch, finished, model, process_of, row_of

PROCESS = process_of("masked")


@pytest.mark.parametrize(
    "sampler,block_length,scale",
    [
        *(("verified", 1, 1.0), ("verified", 7, 2.5), ("verified:1", 4, 1.0)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("verified", 1, 2.5), ("verified", 7, 1.0), ("verified:1", 4, 2.5))
        ),
    ],
)
def test_texts_of_a_batch_are_those_written_alone(sampler: str, block_length: int, scale: float) -> None:
    m, b = model(), batch()
    condition = m.encode(b.prompt, b.prompt_mask)
    guided = ClassifierFreeGuidance(m, scale)
    config = GenerationConfig(sampler=sampler, block_length=block_length, temperature=5.0)
    length = CONFIG.context_length
    prefix = torch.cat([torch.full((3, 1), END), b.x0[:, 1:3]], dim=1)

    def text(rows: slice, prompts: Condition, name: str) -> list[list[int]]:
        rng = RowGenerators([make_generator(name, row) for row in range(3)[rows]])
        states = list(speculative_decoding(guided, PROCESS, prompts, prefix[rows], length, rng, config, END))
        done = [state for state in states if state.done]
        # What is final follows on what was final before, without gaps.
        places = [state.start for state in done]
        assert places == [3 + sum(state.x.shape[1] for state in done[:i]) for i in range(len(done))]
        written = finished(done).tolist()
        assert all(END not in row or set(row[row.index(END) :]) == {END} for row in written)
        return [row[: row.index(END) + 1] if END in row else row for row in written]

    uneven = 0
    for name in ("first", "second"):
        together = text(slice(0, 3), condition, name)
        uneven += len({len(row) for row in together}) > 1
        alone = [text(slice(row, row + 1), row_of(condition, row), name)[0] for row in range(3)]
        assert together == alone
    assert uneven  # else all texts ended together


@pytest.mark.parametrize("sampler", ["verified", "verified:1"])
def test_no_row_is_written_beyond_the_length(sampler: str) -> None:
    m, b = model(), batch()
    condition = m.encode(b.prompt, b.prompt_mask)
    rng = RowGenerators([make_generator("row", row) for row in range(3)])
    config = GenerationConfig(sampler=sampler, block_length=6, temperature=1.0)
    start = torch.full((3, 1), END)
    states = list(speculative_decoding(m, PROCESS, condition, start, 11, rng, config))
    ids = finished(states)
    assert ids.shape == (3, 10) and bool((ids >= 0).all())
    drafts = [state for state in states if not state.done]
    assert drafts and all(state.start + state.x.shape[1] <= 11 for state in drafts)


def test_without_a_draft_one_token_of_the_target_is_drawn() -> None:
    rng = RowGenerators([make_generator("accept", row) for row in range(2)])
    target = torch.tensor([[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])
    tokens, counts = speculative_accept(torch.zeros(2, 0, dtype=torch.long), None, target, rng)
    assert tokens.tolist() == [[1], [2]] and counts.tolist() == [1, 1]


def test_each_row_accepts_for_itself() -> None:
    """Row 0 accepts all, row 1 its first token only; the token after is drawn from what is left."""
    rng = RowGenerators([make_generator("accept", row) for row in range(2)])
    draft = torch.tensor([[0, 1], [0, 1]])
    q = torch.nn.functional.one_hot(draft, 3).double()
    target = torch.zeros(2, 3, 3, dtype=torch.float64)
    for row, tokens in enumerate([[0, 1, 2], [0, 2, 0]]):
        target[row, torch.arange(3), torch.tensor(tokens)] = 1.0
    tokens, counts = speculative_accept(draft, q, target, rng)
    assert counts.tolist() == [3, 2]
    assert tokens[0].tolist() == [0, 1, 2] and tokens[1, :2].tolist() == [0, 2]
