"""Doubts of the canvas about a fill, with a canvas whose probabilities are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sunfish.config.generation import FILLING
from sunfish.sampling import infilling
from sunfish.sampling.canvas_hints import OpenGap, best_log_likelihood, doubt, hints_of, surprises
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline

V = 8


class Canvas:
    """Says id 5 with 0.5, more often by 0.01 for each place that it is told nothing of."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], list[bool]]] = []

    def canvas(self, ids: Tensor, noisy: Tensor, cache: object, start: int) -> Tensor:
        assert cache is None and start == 0
        self.asked += list(zip(ids.tolist(), noisy.tolist(), strict=True))
        p = torch.full((*ids.shape, V), 0.01)
        p[..., 5] = 0.5 + 0.01 * noisy.sum(1, keepdim=True)
        return p


def test_a_likely_text_is_not_asked_about() -> None:
    canvas = Canvas()
    assert doubt(canvas, [0], [range(1, 9)], [[5, 6]], [[-4.9, -0.1]]) == 0.0  # type: ignore[arg-type]
    assert not canvas.asked


def test_a_doubt_is_what_the_canvas_finds_likelier_than_the_fill_makes_it() -> None:
    """The greatest over ids and over lengths of the gap; no copy of an id that is asked about is shown."""
    canvas = Canvas()
    found = doubt(canvas, [0, 1], [range(1, 4)], [[5, 6, 5, 0]], [[-9.0, -7.0, -1.0, -0.2]])  # type: ignore[arg-type]
    width = 2 + 3 + 4  # the shorter rows are filled up with noise
    assert len(canvas.asked) == 3 and canvas.asked[0][1][2:7] == [True, True, True, True, False]
    assert all(len(noisy) == width and not noisy[0] and not noisy[1] for _, noisy in canvas.asked)
    row, noisy = canvas.asked[-1]
    assert row[5:] == [5, 6, 5, 0] and noisy == [False] * 2 + [True] * 6 + [False]
    most = max(sum(noisy) for _, noisy in canvas.asked)
    assert found == pytest.approx(math.log(0.5 + 0.01 * most) + 9.0, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "doubts", "expected"),
    [(2.0, 3.9, [6]), (2.0, 4.1, [6, 48]), (1.9, 0.0, [6, 48])],
    ids=["neither", "a doubtful fill", "few fills that count"],
)
def test_a_search_that_may_have_missed_fills_is_followed_by_a_larger_one(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, size: float, doubts: float, expected: list[int]
) -> None:
    """Which looks for fills that name what the first one left unlikely."""
    counts, sought = list[int](), list[set[int]]()

    class Counted(infilling.GapFiller):
        def __init__(self, mode, end, rng, num_particles, ids=()):  # type: ignore[no-untyped-def]
            counts.append(num_particles)
            sought.append(set(ids))
            super().__init__(mode, end, rng, num_particles, ids)

    monkeypatch.setattr(infilling, "GapFiller", Counted)
    monkeypatch.setattr(infilling, "sample_size", lambda *_: size)
    monkeypatch.setattr(infilling, "doubt", lambda *_: doubts)
    monkeypatch.setattr(infilling, "surprises", lambda *_: [(5, -6.0), (7, -9.0), (5, -8.0)])
    infill(pipeline, "a [MASK:2] b", FILLING, prompt="dogs", num_particles=6)
    assert counts == expected and sought == [set(), {5, 7}][: len(expected)]
    counts.clear()
    infill(pipeline, "a [MASK:2] b", FILLING, prompt="dogs", num_particles=1)
    assert counts == ([1] if doubts < 4 else [1, 8])  # one or two are always few


def test_what_is_unlikely_after_the_gaps_is_a_surprise() -> None:
    assert surprises([[5, 6], [], [5]], [[-5.1, -5.0], [], [-9.0]]) == [(5, -5.1), (5, -9.0)]


def test_what_is_doubted_is_the_likelihood_of_the_given_text(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every id on the right of both gaps, as a pass over the whole text has it."""
    seen: list[tuple[list[int], list[list[int]], list[list[float]]]] = []

    def record(mode, left, lengths, rights, values):  # type: ignore[no-untyped-def]
        seen.append((left, rights, values))
        return 0.0

    monkeypatch.setattr(infilling, "doubt", record)
    filled = infill(pipeline, "a [MASK:1] b [MASK:1] dog", FILLING, num_particles=1)[0]
    ((left, rights, values),) = seen
    row = torch.tensor([[*left[:1], *filled.ids, left[0]]])
    with torch.no_grad():
        logits = pipeline.model.prefill(row[:, :-1], pipeline.encode([""]))[0]
    logits = logits[..., : pipeline.tokenizer.size]
    each = logits.log_softmax(-1).gather(-1, row[:, 1:, None])[0, :, 0].tolist()
    second = len(left) + len(rights[0]) + 1
    expected = [each[len(left) : len(left) + len(rights[0])], each[second : second + len(rights[1])]]
    for found, truth in zip(values, expected, strict=True):
        assert found == pytest.approx(truth, abs=1e-4)


def test_a_gap_is_asked_about_at_some_lengths_between_what_is_known() -> None:
    """Of each place, the mean over the lengths that have it."""
    asked: list[tuple[list[int], list[bool]]] = []

    class Hinting(Canvas):
        def canvas(self, ids: Tensor, noisy: Tensor, cache: object, start: int) -> Tensor:
            assert (cache, start) == (None, 4)
            asked.extend(zip(ids.tolist(), noisy.tolist(), strict=True))
            return torch.arange(1.0, len(ids) + 1)[:, None, None].expand(*ids.shape, V)

    hints = hints_of(OpenGap(Hinting(), 7, None, 4, range(2, 6)), [1, 2])  # type: ignore[arg-type]
    known, noise = [False], [True]
    assert asked == [  # of lengths 2, 3 and 5; the shorter rows are filled up
        ([7, 7, 7, 1, 2, 7, 7, 7], known + 2 * noise + 2 * known + 3 * noise),
        ([7, 7, 7, 7, 1, 2, 7, 7], known + 3 * noise + 2 * known + 2 * noise),
        ([7, 7, 7, 7, 7, 7, 1, 2], known + 5 * noise + 2 * known),
    ]
    assert hints[:, 0].tolist() == [2.0, 2.0, 2.5, 3.0, 3.0]
    asked.clear()
    between = hints_of(OpenGap(Hinting(), 7, None, 4, range(6, 8)), [1])  # type: ignore[arg-type]
    assert asked == [([*[7] * 7, 1], known + 6 * noise + known)] and len(between) == 6  # its shortest length


def test_the_best_likelihood_is_asked_one_id_after_the_other() -> None:
    """Given the ones before it and what follows, as far as the canvas is shown that."""
    asked: list[tuple[list[int], list[bool]]] = []

    class Knowing(Canvas):
        def canvas(self, ids: Tensor, noisy: Tensor, cache: object, start: int) -> Tensor:
            assert (cache, start) == (None, 4)
            asked.extend(zip(ids.tolist(), noisy.tolist(), strict=True))
            p = torch.full((*ids.shape, V), 0.01)
            p[0, 9, 1], p[1, 10, 2] = 0.3, 0.6  # after a gap of eight
            p[0, 4, 1], p[1, 5, 2] = 0.5, 0.4  # after one of three
            return p

    right = [1, 2, *[3] * 20]
    found = best_log_likelihood(OpenGap(Knowing(), 7, None, 4, range(1, 20)), right, 2)  # type: ignore[arg-type]
    assert found == pytest.approx(math.log(0.3 * 0.6), abs=1e-6)
    known, noise = [False], [True]
    assert asked == [
        ([7, *[7] * 8, *right[:16]], known + 8 * noise + 2 * noise + 14 * known),
        ([7, *[7] * 8, *right[:16]], known + 8 * noise + known + noise + 14 * known),
    ]
    short = best_log_likelihood(OpenGap(Knowing(), 7, None, 4, range(3, 7)), right, 2)  # type: ignore[arg-type]
    assert short == pytest.approx(math.log(0.5 * 0.4), abs=1e-6)
    assert best_log_likelihood(OpenGap(Knowing(), 7, None, 4, range(1, 20)), [], 2) == 0.0  # type: ignore[arg-type]
