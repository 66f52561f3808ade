"""What decides how far the search for a fill goes on, by hand."""

from __future__ import annotations

import math

import pytest

from sunfish.sampling.particles import FALL, RARE, SURPRISE, Cut, log_worth


def nothing() -> float:
    """A canvas that expects nothing."""
    return -math.inf


def unasked() -> float:
    raise AssertionError("what is likely enough is not asked about")


def cut(length: int, log_weight: float, log_likelihood: float, log_potential: float = 0.0) -> Cut:
    """A cut after ``length`` ids, by the likelihood of the first ids on the right."""
    return Cut(0, (1,) * length, log_weight, 0.0, 0.0, log_weight + log_likelihood, log_potential)


def test_nothing_is_expected_before_a_first_cut() -> None:
    assert log_worth([], 3, 1.5, unasked) == 0.0


def test_a_better_cut_is_expected_while_the_best_one_leaves_a_surprise() -> None:
    """As much as the right side could be worth, less what it may lose."""
    worse = cut(2, -1.0, -9.0, -0.5)
    assert log_worth([worse], 4, 0.0, nothing) == pytest.approx(-0.5 - SURPRISE)
    # Evidence is for each unit of weight; where cuts have found more in sum, that counts.
    assert log_worth([worse] * 100, 4, -10.0, nothing) == pytest.approx(math.log(100))


def test_a_better_cut_is_expected_while_all_fills_are_rare() -> None:
    """A sentence that is cut off may suit the right side, but most prefixes have not come to their end."""
    rare = cut(2, 0.5 - RARE, -1.0, -0.25)
    assert log_worth([rare], 9, 0.0, unasked) == pytest.approx(-0.25 - SURPRISE)
    likelier = cut(2, 1.0 - RARE, -1.0, -0.25)
    assert log_worth([likelier], 9, 0.0, unasked) == pytest.approx(-RARE + 7 * FALL)
    # What counts is their share of all weight, and that of all cuts together.
    assert log_worth([rare], 9, -1.0, unasked) == pytest.approx(0.5 - RARE + 7 * FALL)
    assert log_worth([rare] * 3, 9, 0.0, unasked) == pytest.approx(math.log(3) - 0.5 - RARE + 7 * FALL)


def test_after_a_good_cut_worth_falls_with_each_token() -> None:
    good, worse = cut(3, -1.0, -2.0), cut(1, -1.0, -4.0)
    found = math.log(math.exp(-3.0) + math.exp(-5.0)) - 0.25
    for length in (3, 4, 7):
        assert log_worth([worse, good], length, 0.25, unasked) == pytest.approx(found + (length - 3) * FALL)


def test_a_better_cut_is_expected_where_the_canvas_says_so() -> None:
    """A bad fill makes all that follows unlikely, so that its own likelihoods show no better one."""
    bad = cut(1, -1.0, -20.0, -18.0)
    assert log_worth([bad], 5, 0.0, lambda: -15.0) == pytest.approx(-21.0 + 4 * FALL)
    assert log_worth([bad], 5, 0.0, lambda: -3.0) == pytest.approx(-3.0 - SURPRISE)
