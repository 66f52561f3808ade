"""The parts of speculative decoding, each against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from sunfish.config import GenerationConfig
from sunfish.model.draft import Draft, likely_ids_of
from sunfish.rng import RowGenerators, make_generator
from sunfish.sampling.speculative import (
    _fully_noised,
    _Text,
    sample_draft,
    speculative_accept,
)
from tests.helpers import CONFIG, process_of, row_generators

END = 9


class Given:
    """Random numbers that are given, one list for each draw."""

    def __init__(self, *draws: object) -> None:
        self.draws = [torch.tensor(draw, dtype=torch.float64) for draw in draws]

    def uniform(self, *shape: int, device: torch.device) -> Tensor:
        draw = self.draws.pop(0)
        assert draw.shape == shape and device.type == "cpu"
        return draw


def given(*draws: object) -> RowGenerators:
    return cast(RowGenerators, Given(*draws))


P, Q = [0.6, 0.1, 0.3], [0.5, 0.5, 0.0]
ACCEPTED = {  # lenience, first draw, second draw: what is written after one drafted token 1
    "below p / q": (1.0, 0.19, 0.99, [1, 2]),
    "at p / q": (1.0, 0.2, 0.0, [0]),
    "from what is left, [1, 0, 3]": (1.0, 0.9, 0.24, [0]),
    "from what is left, its end": (1.0, 0.9, 0.26, [2]),
    "lenient, below p / (l q)": (0.5, 0.39, 0.5, [1, 1]),
    "lenient, above": (0.5, 0.41, 0.53, [0]),  # from [7, 0, 6]
    "lenient, its end": (0.5, 0.41, 0.55, [2]),
    "a second draw at 0": (1.0, 0.0, 0.0, [1, 0]),
}


@pytest.mark.parametrize("lenience,first,second,written", ACCEPTED.values(), ids=list(ACCEPTED))
def test_a_token_is_accepted_by_its_probabilities(
    lenience: float, first: float, second: float, written: list[int]
) -> None:
    target = torch.tensor([[P, [0.25, 0.5, 0.25]]], dtype=torch.float64)
    drafted = torch.tensor([[Q]], dtype=torch.float64)
    rng = given([[first]], [second])
    tokens, counts = speculative_accept(torch.tensor([[1]]), drafted, target, rng, lenience)
    assert counts.tolist() == [len(written)]
    assert tokens[0, : len(written)].tolist() == written
    assert tokens.shape == (1, 2)


def test_no_lenience_is_exact() -> None:
    target = torch.tensor([[P, P]], dtype=torch.float64)
    drafted = torch.tensor([[Q]], dtype=torch.float64)
    _, counts = speculative_accept(torch.tensor([[1]]), drafted, target, given([[0.21]], [0.5]))
    assert counts.tolist() == [1]


@pytest.mark.parametrize("second,token", [(0.5, 0), (0.6, 1)])
def test_where_rounding_leaves_nothing_the_target_is_drawn_from(second: float, token: int) -> None:
    target = torch.tensor([[[0.5, 0.4], [0.5, 0.5]]], dtype=torch.float64)  # nowhere above the draft's
    drafted = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64)
    tokens, counts = speculative_accept(torch.tensor([[1]]), drafted, target, given([[0.9]], [second]))
    assert counts.tolist() == [1] and int(tokens[0, 0]) == token


@pytest.mark.parametrize("rejected", [0, 1, 2, 3])
def test_the_first_token_that_is_rejected_ends_a_round(rejected: int) -> None:
    """Those before it stay; those after it do not count, though the target has them."""
    draft = torch.tensor([[0, 1, 2]])
    wanted = torch.tensor([[0, 1, 2, 3]])
    wanted[0, rejected] = 3
    target, drafted = (one_hot(ids, 4).double() for ids in (wanted, draft))
    tokens, counts = speculative_accept(draft, drafted, target, given([[0.5] * 3], [0.5]))
    assert counts.tolist() == [rejected + 1]
    assert tokens[0, : rejected + 1].tolist() == wanted[0, : rejected + 1].tolist()


class Following:
    """Conditional logits by table: after each id the next one of five is likelier than all others."""

    def __init__(self) -> None:
        self.given: list[list[list[int]]] = []

    def __call__(self, candidates: Tensor | None) -> Callable[[Tensor], Tensor]:
        assert candidates is not None

        def logits(previous: Tensor) -> Tensor:
            self.given.append(previous.tolist())
            return 100.0 * (candidates[:, None] == (previous[..., None] + 1) % 5).double()

        return logits


MARGINAL = 4.0 * one_hot(torch.tensor([[4, 0, 2]]), 5).double()


def draft_of(conditional_logits: Following | None) -> Draft:
    """Three places of five ids; the likeliest alone are 4, 0 and 2."""

    def marginal(rows: int) -> Tensor:
        return MARGINAL[:rows]

    return Draft(5, marginal, likely_ids_of(marginal), conditional_logits)


def test_a_draft_is_drawn_until_no_token_changes() -> None:
    following, newest = Following(), torch.tensor([[1]])
    rng = RowGenerators.for_rows(0, 0, 1)
    config = GenerationConfig(temperature=0.5)
    ids, probabilities = sample_draft(draft_of(following), newest, config, rng, iterations=7)
    # The newest token is 1, and the likeliest ones are at first 4, 0, 2; then each follows the one before it.
    assert following.given == [[[1, 4, 0]], [[1, 2, 0]], [[1, 2, 3]], [[1, 2, 3]]]
    assert ids.tolist() == [[2, 3, 4]]
    torch.testing.assert_close(probabilities, one_hot(ids, 5).double())


@pytest.mark.parametrize("count", [2, 4])
def test_a_draft_has_candidates_only(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """What is not among the ids that are likeliest anywhere has no probability, and the others share it."""
    monkeypatch.setattr("sunfish.sampling.speculative.NUM_CANDIDATES", count)
    logits = torch.randn(1, 3, 5, generator=make_generator("logits"), dtype=torch.float64)

    def marginal(rows: int) -> Tensor:
        return logits[:rows]

    def conditional(candidates: Tensor | None) -> Callable[[Tensor], Tensor]:
        assert candidates is not None
        return lambda previous: -logits.gather(2, candidates[:, None].expand(-1, 3, -1))

    draft = Draft(5, marginal, likely_ids_of(marginal), conditional)
    rng, config = RowGenerators.for_rows(0, 0, 1), GenerationConfig(temperature=1.0)
    ids, probabilities = sample_draft(draft, torch.tensor([[1]]), config, rng)
    best = torch.softmax(logits, -1)[0].amax(0)
    unlikely = best < best.sort(descending=True).values[count - 1]
    expected = torch.softmax((-logits).masked_fill(unlikely, -torch.inf), -1)
    torch.testing.assert_close(probabilities, expected)
    assert not bool(unlikely[ids].any())


def test_what_is_repeated_within_a_draft_is_penalized() -> None:
    """By the text at each place, and at a later place by the tokens that are drafted before it."""

    def conditional(candidates: Tensor | None) -> Callable[[Tensor], Tensor]:
        assert candidates is not None
        logits = 40.0 * (candidates == 3).double() + 20.0 * (candidates == 2).double()
        return lambda previous: logits[:, None].expand(-1, previous.shape[1], -1)

    def marginal(rows: int) -> Tensor:
        return MARGINAL[:rows]

    draft = Draft(5, marginal, likely_ids_of(marginal), conditional)
    config, rng = GenerationConfig(temperature=1.0, repetition_penalty=10.0), RowGenerators.for_rows(0, 0, 1)
    seen = one_hot(torch.tensor([0]), 5).bool()
    ids, probabilities = sample_draft(draft, torch.tensor([[1]]), config, rng, seen)
    assert ids.tolist() == [[3, 2, 3]]
    logits = torch.tensor([[0.0, 0, 20, 40, 0], [0, 0, 20, 4, 0], [0, 0, 2, 4, 0]], dtype=torch.float64)
    torch.testing.assert_close(probabilities, torch.softmax(logits, -1)[None])


def test_without_a_draft_head_the_marginals_are_drawn_from() -> None:
    config = GenerationConfig(temperature=1.0, top_p=0.5)  # a nucleus of the likeliest token alone
    rng = RowGenerators.for_rows(0, 0, 1)
    ids, probabilities = sample_draft(draft_of(None), torch.tensor([[1]]), config, rng)
    assert ids.tolist() == [[4, 0, 2]]
    torch.testing.assert_close(probabilities, one_hot(ids, 5).double())
    _, probabilities = sample_draft(draft_of(None), torch.tensor([[1]]), replace(config, top_p=1.0), rng)
    torch.testing.assert_close(probabilities, torch.softmax(MARGINAL, -1))


def test_a_start_is_one_number_where_it_can_be() -> None:
    text = _Text(torch.tensor([[0, 1], [0, 2]]), 6, END)
    assert text.start(5) == 1 and isinstance(text.start(5), int)
    beyond = text.start(6)  # beyond the end of the text
    assert isinstance(beyond, Tensor) and beyond.tolist() == [1, 1]
    text.write(torch.tensor([[3, 4], [5, 6]]), torch.tensor([1, 2]))
    uneven = text.start(1)
    assert isinstance(uneven, Tensor) and uneven.tolist() == text.known == [2, 3]


def test_known_positions_are_not_noised() -> None:
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    noise, t = _fully_noised(process_of(), ids, row_generators("noise"), known=1)
    mask = CONFIG.vocab_size
    assert noise.tolist() == [[3, mask, mask], [6, mask, mask]]
    assert t.tolist() == [[0.0, 1.0, 1.0]] * 2
    noise, t = _fully_noised(process_of(), ids, row_generators("noise"))
    assert noise.unique().tolist() == [mask] and t.unique().tolist() == [1.0]


def test_rows_are_written_each_at_its_own_pace() -> None:
    text = _Text(torch.tensor([[0, 1], [0, 2]]), 6, END)
    assert text.ids.shape == (2, 6) and text.settled == 2 and text.newly_settled() is None
    assert text.newest.tolist() == [[1], [2]]
    counts = text.write(torch.tensor([[3, 4, 5], [6, END, END]]), torch.tensor([3, 1]))
    assert counts == [3, 1] and text.written == [5, 3]
    assert text.going == [True, True]  # an end mark that was not accepted is none
    assert text.newest.tolist() == [[5], [6]]
    state = text.newly_settled()
    assert state is not None and (state.start, state.x.tolist(), state.done) == (2, [[3], [6]], True)
    assert text.newly_settled() is None
    # Row 0 has room for one token; row 1 ends with its first.
    counts = text.write(torch.tensor([[7, 8, 8], [END, 8, 8]]), torch.tensor([3, 2]))
    assert counts == [1, 1] and text.going == [False, False]
    state = text.newly_settled()
    assert state is not None and (state.start, state.done) == (3, True)
    assert state.x.tolist() == [[4, 5, 7], [END, END, END]]
    assert text.settled == 6


def test_a_row_that_has_ended_holds_up_none() -> None:
    text = _Text(torch.tensor([[0], [0]]), 9, END)
    text.write(torch.tensor([[3, END], [4, 5]]), torch.tensor([2, 1]))
    assert text.going == [False, True] and text.settled == 1
    state = text.newly_settled()
    assert state is not None and state.x.tolist() == [[3], [4]]
    counts = text.write(torch.tensor([[7, 7], [5, 6]]), torch.tensor([2, 2]))
    assert counts == [0, 2]
    state = text.newly_settled()
    assert state is not None and (state.start, state.x.tolist()) == (2, [[END, END], [5, 6]])


def test_without_an_end_mark_every_row_is_written_to_the_length() -> None:
    text = _Text(torch.tensor([[0]]), 4, None)
    assert text.ids.tolist() == [[0, -1, -1, -1]]
    text.write(torch.tensor([[END, 1, 2]]), torch.tensor([2]))
    assert text.going == [True] and text.written == [3]
    assert text.write(torch.tensor([[5, 6, 7]]), torch.tensor([3])) == [1]
    state = text.newly_settled()
    assert state is not None and state.x.tolist() == [[END, 1, 5]] and not any(text.going)
