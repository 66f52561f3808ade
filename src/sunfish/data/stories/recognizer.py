"""Owns the recognition of sentences: whether some template can produce one.

Recognition walks a trie of all templates and narrows, for each component of a story's state, the set of
values that the sentence allows. So agreement within a sentence needs no rule of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.grammar import SLOTS, Slot, pieces

_TOKEN = re.compile(r"[A-Za-z]+|[^A-Za-z]")


@dataclass(slots=True)
class _Node:
    words: dict[str, _Node] = field(default_factory=dict)
    slots: dict[str, _Node] = field(default_factory=dict)
    final: bool = False


class _SlotMatcher(NamedTuple):
    """How a slot matches tokens: text -> bit mask of the values written so, and the lengths of texts."""

    component: str
    masks: dict[str, int]
    lengths: tuple[int, ...]


def _slot_matcher(slot: Slot) -> _SlotMatcher:
    masks: dict[str, int] = {}
    for number, text in enumerate(slot.texts):
        masks[text] = masks.get(text, 0) | 1 << number
    return _SlotMatcher(slot.component, masks, tuple(sorted({len(_TOKEN.findall(text)) for text in masks})))


def _mask(words: tuple[str, ...], chosen: set[str]) -> int:
    return sum(1 << number for number, word in enumerate(words) if word in chosen)


# For each sex: the names that have it and the kinds it may be.
_SEXES = tuple(
    (_mask(lx.NAMES, set(names)), _mask(lx.KINDS, set(lx.KINDS) - set(other)))
    for names, other in ((lx.FEMALE_NAMES, lx.MALE_KINDS), (lx.MALE_NAMES, lx.FEMALE_KINDS))
)


def _agrees(values: dict[str, int]) -> bool:
    """Whether a name and a kind of the same sex remain, and no two components have to be equal."""
    for who in ("hero", "friend"):
        names, kinds = values.get(who + ".name", -1), values.get(who + ".kind", -1)
        if not any(names & has and kinds & may for has, may in _SEXES):
            return False
    for first, second in (
        ("hero.name", "friend.name"),
        ("hero.kind", "friend.kind"),
        ("thing", "thing2"),
        ("color", "color2"),
    ):
        if first in values and values[first] == values.get(second) and values[first].bit_count() == 1:
            return False
    return True


class Recognizer:
    """Says whether a sentence is one that a set of templates can produce."""

    def __init__(self, templates: list[str]) -> None:
        self._root = _Node()
        self._matchers: dict[str, _SlotMatcher] = {}
        for template in templates:
            node = self._root
            for part, is_slot in pieces(template):
                if is_slot:
                    self._matchers.setdefault(part, _slot_matcher(SLOTS[part]))
                    node = node.slots.setdefault(part, _Node())
                    continue
                for token in _TOKEN.findall(part):
                    node = node.words.setdefault(token, _Node())
            node.final = True

    def accepts(self, sentence: str) -> bool:
        """Whether some template, with agreeing values in its slots, reads exactly `sentence`."""
        return self._walk(self._root, _TOKEN.findall(sentence), 0, {})

    def _walk(self, node: _Node, tokens: list[str], at: int, values: dict[str, int]) -> bool:
        if at == len(tokens):
            return node.final and _agrees(values)
        following = node.words.get(tokens[at])
        if following is not None and self._walk(following, tokens, at + 1, values):
            return True
        for name, after in node.slots.items():
            component, masks, lengths = self._matchers[name]
            for length in lengths:
                mask = masks.get("".join(tokens[at : at + length])) if at + length <= len(tokens) else None
                if mask is None:
                    continue
                mask &= values.get(component, -1)
                if mask and self._walk(after, tokens, at + length, values | {component: mask}):
                    return True
        return False
