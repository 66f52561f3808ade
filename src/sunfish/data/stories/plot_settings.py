"""Owns the settings of a plot: how likely it is, what it is about, and which values suit it."""

from __future__ import annotations

import re
from typing import NamedTuple

from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.grammar import SLOTS
from sunfish.data.stories.text_files import Line

_SETTING = re.compile(r"([a-z]\w*):\s*(.*)")
_HERO = re.compile(r"(\w+) (\d+)%")
# What a plot can be about: the hero and a thing, a subject that it describes, a question, or the place.
_ABOUT = ("hero", "subject", "question", "place")
_NEUTRAL_KINDS = [kind for kind in lx.KINDS if kind not in lx.FEMALE_KINDS + lx.MALE_KINDS]
# The components whose values a plot can restrict.
_COMPONENTS = [
    name for name in ("thing", "thing2", *lx.CLASSES) if not any(" " in text for text in SLOTS[name].texts)
]


class Settings(NamedTuple):
    """The settings of a plot; `hero_kind` is the hero with probability `hero_share`, "" for any hero."""

    weight: int
    about: str
    hero_kind: str
    hero_share: float
    fits: dict[str, tuple[int, ...]]


def is_setting(line: Line) -> bool:
    """Whether `line` has the form "name: value"."""
    return bool(_SETTING.fullmatch(line.text))


def parse_settings(lines: list[Line]) -> Settings:
    """The settings that `lines` write down, "name: value" each.

    Raises:
        ValueError: a setting is unknown or repeated, or its value is none that it can have.
    """
    weight, about, hero_kind, hero_share = 1, "hero", "", 0.0
    fits: dict[str, tuple[int, ...]] = {}
    names: set[str] = set()
    for line in lines:
        name, _, value = (part.strip() for part in line.text.partition(":"))
        if name in names:
            raise line.error(f"setting {name!r} occurs twice; write it once")
        names.add(name)
        if name == "weight":
            if not value.isdecimal() or int(value) == 0:
                raise line.error(f"weight {value!r} is no whole number from 1 on; write one")
            weight = int(value)
        elif name == "about":
            if value not in _ABOUT:
                raise line.error(f"about {value!r} is unknown; use one of {', '.join(_ABOUT)}")
            about = value
        elif name == "hero":
            hero_kind, hero_share = _hero(line, value)
        elif name in _COMPONENTS:
            fits[name] = _values(line, name, value)
        else:
            known = ", ".join(("weight", "about", "hero", *_COMPONENTS))
            raise line.error(f"setting {name!r} is unknown; use one of {known}")
    return Settings(weight, about, hero_kind, hero_share, fits)


def _hero(line: Line, value: str) -> tuple[str, float]:
    match = _HERO.fullmatch(value)
    if not match or match[1] not in _NEUTRAL_KINDS or not 0 < int(match[2]) <= 100:
        raise line.error(
            f"hero {value!r} is no kind of either sex (KINDS in lexicon.py) with its share; "
            "write one such as 'robot 70%'"
        )
    return match[1], int(match[2]) / 100


def _values(line: Line, name: str, value: str) -> tuple[int, ...]:
    """The numbers of the values of component `name` that `value` lists, or of all others ("any but ...")."""
    excluding = value.startswith("any but ")
    listed = value.removeprefix("any but ").split()
    texts = SLOTS[name].texts
    for word in listed:
        if word not in texts:
            raise line.error(f"{word!r} is no {name}; use words of lexicon.py such as {', '.join(texts[:3])}")
    numbers = tuple(n for n, text in enumerate(texts) if (text in listed) != excluding)
    if not numbers:
        raise line.error(f"setting {name!r} leaves no value; list the words that suit the plot")
    return numbers
