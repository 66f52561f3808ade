"""Tests of the story generator: determinism, splits, variety, prompts and entities that stay the same."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest

from sunfish.data.stories import SPLITS, Story, story
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.constraints import parse_constraints
from sunfish.data.stories.grammar import SLOTS
from sunfish.data.stories.held_out import is_held_out
from sunfish.data.stories.phrasings import PHRASINGS
from sunfish.data.stories.plots import PLOTS
from sunfish.data.stories.shared import ENDING_LINES, MOOD_LINES, OPENINGS


@pytest.fixture(scope="module")
def corpus() -> list[Story]:
    return [story(0, "train", index) for index in range(20_000)]


@pytest.fixture(scope="module")
def sample() -> list[Story]:
    return [story(0, "train", index) for index in range(2_000)]


def test_a_story_is_a_function_of_seed_split_and_index() -> None:
    for split in SPLITS:
        assert story(3, split, 41) == story(3, split, 41)
    assert len({story(seed, "train", index) for seed in range(5) for index in range(100)}) == 500


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'dev'.*train, validation, test, compositional"):
        story(0, "dev", 0)


@pytest.mark.slow
def test_no_text_is_in_two_splits() -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for seed in range(2):
            for index in range(150):
                text = story(seed, split, index).text
                assert seen.setdefault(text, split) == split


@pytest.mark.slow
def test_held_out_pairs_occur_in_the_compositional_split_only(corpus: list[Story]) -> None:
    def pairs(stories: list[Story]) -> list[tuple[str, str]]:
        asked_pairs = []
        for one in stories:
            asked = dict(key.split(":") for key in parse_constraints(one.prompt))
            if "topic" in asked and "place" in asked:
                asked_pairs.append((asked["topic"], asked["place"]))
        return asked_pairs

    others = corpus + [story(0, split, index) for split in ("validation", "test") for index in range(500)]
    assert len(pairs(others)) > 3_000
    assert not any(is_held_out(*pair) for pair in pairs(others))
    held = pairs([story(0, "compositional", index) for index in range(150)])
    assert len(held) >= 135 and all(is_held_out(*pair) for pair in held)
    share = sum(is_held_out(kind, place) for kind in lx.KINDS for place in lx.PLACE_WORDS)
    assert 0.03 < share / (len(lx.KINDS) * len(lx.PLACE_WORDS)) < 0.07


@pytest.mark.slow
def test_length_and_form(sample: list[Story]) -> None:
    for one in sample:
        assert 40 <= len(one.text.split()) <= 150
        assert one.prompt and one.text.isascii() and "\n" not in one.text and "  " not in one.text
        assert one.text[0].isupper() and one.text[-1] in '.!?"'
        assert "{" not in one.text + one.prompt


@pytest.mark.slow
def test_variety(corpus: list[Story]) -> None:
    assert len(PLOTS) >= 25 and len({one.plot for one in corpus}) == len(PLOTS)
    assert len(PHRASINGS) >= 40
    words = Counter(word for one in corpus for word in set(re.findall("[a-z]+", one.text.lower())))
    assert len(words) >= 1_500
    rare = [word for word, count in words.items() if count < len(corpus) / 6_000]
    assert not rare, rare
    assert len({one.text for one in corpus}) == len(corpus)


def test_more_than_a_billion_distinct_stories() -> None:
    # One plot is enough for the bound. Each of its steps is a free choice, and under the third opening and
    # the plot's first introduction of the friend, each of these values is written out in the text.
    steps = [len(step.choices) for step in PLOTS["lost_thing"].steps if step.choices and not step.optional]
    assert math.prod(steps) > 100
    neutral = len(lx.KINDS) - len(lx.FEMALE_KINDS) - len(lx.MALE_KINDS)
    shown = neutral * len(lx.NAMES) * len(lx.THINGS) * len(lx.PLACES) * (neutral - 1) * (len(lx.NAMES) - 1)
    assert shown > 10**9
    assert len(OPENINGS) >= 15 and min(map(len, ENDING_LINES.values())) >= 4
    assert len(MOOD_LINES["mood_first"]) >= 6 and 15 <= len(ENDING_LINES) <= 20


def test_the_prompts_that_people_type_are_produced() -> None:
    wanted = {"Write about dogs", "Write a story about a robot", "Describe the ocean"}
    for index in range(60_000):
        wanted.discard(story(9, "train", index).prompt.rstrip("."))
        if not wanted:
            return
    pytest.fail(f"never produced: {sorted(wanted)}")


@pytest.mark.slow
def test_moods_endings_and_names_are_spread_evenly(corpus: list[Story]) -> None:
    asked = Counter(key for one in corpus for key in parse_constraints(one.prompt))
    for kind, values, most in (("mood", lx.MOODS, 1.5), ("ending", lx.ENDINGS, 1.6)):
        counts = [asked[f"{kind}:{value}"] for value in values]
        assert max(counts) < most * min(counts), (kind, counts)
    assert asked["topic:robot"] > 300 and asked["topic:dog"] > 300 and asked["topic:ocean"] > 50


@pytest.mark.slow
def test_what_is_lost_is_what_is_found(sample: list[Story]) -> None:
    things = "|".join(lx.THINGS)
    tracked = re.compile(
        rf"(?:Where is my|noticed that the|had my|found the|Thank you for finding my|held the|tied the|"
        rf"There was the|took the|gave the|put the|pick up the|picked up the|carried the|"
        rf"miss this|keep this) ({things})\b"
    )
    checked = 0
    for one in sample:
        if one.plot in ("lost_thing", "found_thing", "promise_kept"):
            things_named = tracked.findall(one.text)
            assert len(set(things_named)) <= 1, one.text
            checked += len(things_named) > 1
    assert checked > 50


@pytest.mark.slow
def test_a_friend_is_introduced_before_being_named(sample: list[Story]) -> None:
    kinds = "|".join(sorted(set(SLOTS["a.friend"].texts), key=len, reverse=True))
    for one in sample:
        if one.plot in ("description", "explanation"):
            continue
        named = Counter(re.findall(r"[A-Z][a-z]+", one.text))
        others = [name for name in lx.NAMES if named[name]]
        assert len(others) <= 2, one.text
        if len(others) == 2:
            ends = [next(re.finditer(rf"\b{name}\b", one.text)).end() for name in others]
            before = one.text[: max(ends) + 40]
            assert re.search(rf"\b(?:{kinds})\b.*", before, re.I), one.text
