"""Owns the template language: slots, sentences, and rendering from a story's state.

A template is text with slots in braces, each one a form of one component of a story's state: `{N}` is the
hero's name, `{he}` the hero's pronoun, `{a.thing}` the thing with its article.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx


class Slot(NamedTuple):
    """One form of one component: how each of its values is written."""

    component: str
    texts: tuple[str, ...]


def _noun_slots(name: str, component: str, nouns: tuple[str, ...]) -> dict[str, Slot]:
    articles = tuple(lx.with_article(noun) for noun in nouns)
    plurals = tuple(lx.plural(noun) for noun in nouns)
    return {
        name: Slot(component, nouns),
        "a." + name: Slot(component, articles),
        "A." + name: Slot(component, tuple(map(lx.capital, articles))),
        "pl." + name: Slot(component, plurals),
        "Pl." + name: Slot(component, tuple(map(lx.capital, plurals))),
    }


def _pronouns(prefix: str, component: str, female: tuple[bool, ...]) -> dict[str, Slot]:
    table = {
        "he": ("she", "he"),
        "him": ("her", "him"),
        "his": ("her", "his"),
        "He": ("She", "He"),
        "His": ("Her", "His"),
    }
    return {
        prefix + form: Slot(component, tuple(pair[0] if is_female else pair[1] for is_female in female))
        for form, pair in table.items()
    }


def _slots() -> dict[str, Slot]:
    slots: dict[str, Slot] = {}
    name_sex = tuple(name in lx.FEMALE_NAMES for name in lx.NAMES)
    for letter, who, prefix in (("N", "hero", ""), ("F", "friend", "f")):
        slots[letter] = Slot(who + ".name", lx.NAMES)
        slots.update(_pronouns(prefix, who + ".name", name_sex))
        slots.update(_noun_slots(who, who + ".kind", lx.KINDS))
    for thing in ("thing", "thing2"):
        slots.update(_noun_slots(thing, thing, lx.THINGS))
    slots["place"] = Slot("place", lx.PLACE_WORDS)
    slots["at.place"] = Slot("place", tuple(f"{prep} the {word}" for prep, word in lx.PLACES))
    slots["At.place"] = Slot("place", tuple(map(lx.capital, slots["at.place"].texts)))
    slots["kin"] = Slot("kin", tuple(word for word, _ in lx.KIN))
    slots.update(_pronouns("k", "kin", tuple(is_female for _, is_female in lx.KIN)))
    slots["subject"] = Slot("subject", tuple(subject.phrase for subject in facts.SUBJECTS))
    slots["question"] = Slot("question", tuple(subject.phrase for subject in facts.QUESTIONS))
    for name, words in lx.CLASSES.items():
        slots.update(_noun_slots(name, name, words))
    return slots


SLOTS: dict[str, Slot] = _slots()
DOMAIN: dict[str, int] = {slot.component: len(slot.texts) for slot in SLOTS.values()}

_PIECE = re.compile(r"\{([^}]*)\}")
# A sentence ends at its mark and, where there is one, the closing quotation mark, when what follows begins
# another; a lower-case word after it (`"Why?" asked Mia.`) continues the sentence.
_BREAK = re.compile(r"""([.!?]+"?)\s+(?=["A-Z{])""")


def sentences(text: str) -> list[str]:
    """`text` cut into sentences; whatever has no end mark is the last one."""
    text = text.strip()
    return _BREAK.sub(lambda match: match.group(1) + "\n", text).split("\n") if text else []


def pieces(template: str) -> list[tuple[str, bool]]:
    """A template as (text, False) and (slot name, True) pieces.

    Raises:
        ValueError: a slot is unknown, or a brace has no partner.
    """
    parts: list[tuple[str, bool]] = []
    for number, part in enumerate(_PIECE.split(template)):
        is_slot = bool(number % 2)
        if is_slot and part not in SLOTS:
            near = get_close_matches(part, SLOTS, 1)
            remedy = f"did you mean {{{near[0]}}}? " if near else ""
            raise ValueError(f"slot {{{part}}} is unknown; {remedy}text/README.md lists the slots")
        if not is_slot and ("{" in part or "}" in part):
            raise ValueError("a brace has no partner; write a slot as {name}")
        if part:
            parts.append((part, is_slot))
    return parts


def render(template: Iterable[tuple[str, bool]], state: dict[str, int]) -> str:
    """A template with its slots filled from `state` (component -> number of the value)."""
    texts = []
    for part, is_slot in template:
        if is_slot:
            slot = SLOTS[part]
            part = slot.texts[state[slot.component]]
        texts.append(part)
    return "".join(texts)
