"""Owns the choices of a step: one line of a text file each, checked and cut into pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from sunfish.data.stories.grammar import SLOTS, pieces, sentences
from sunfish.data.stories.text_files import Line

# What a story speaks of as "a kite" first and as "the kite" from then on.
_TRACKED = ("friend", "thing", "thing2", "food", "critter", "flower", "tree", "container", "instrument")
_FRIEND_FORMS = ("F", "fhe", "fhim", "fhis", "fHe", "fHis")
_CAPITAL_SLOTS = [name for name, slot in SLOTS.items() if all(text[0].isupper() for text in slot.texts)]
_BEGIN = re.compile(rf'"?(?:[A-Z]|\{{(?:{"|".join(map(re.escape, _CAPITAL_SLOTS))})\}})')
_END = re.compile(r'[.!?]"?$')


class Choice(NamedTuple):
    """One way to say a step: its text, its pieces, and what must and must not have been mentioned before."""

    text: str
    parts: tuple[tuple[str, bool], ...]
    needs: frozenset[str]
    introduces: frozenset[str]
    mentions: frozenset[str]


# The choice that says nothing.
SILENT = Choice("", (), frozenset(), frozenset(), frozenset())


def parse_choices(lines: Iterable[Line]) -> tuple[Choice, ...]:
    """The choices that `lines` offer."""
    return tuple(map(parse_choice, lines))


def parse_choice(line: Line) -> Choice:
    """A line as a choice, with what it takes for granted ("the kite") and what it brings in ("a kite").

    Raises:
        ValueError: the line is not made of whole sentences, or it has a slot that does not exist.
    """
    parts = _checked_pieces(line)
    needs: set[str] = set()
    introduces: set[str] = set()
    mentions: set[str] = set()
    article = before = ""
    for part, is_slot in parts:
        if not is_slot:
            before = part
            continue
        form, _, name = part.rpartition(".")
        if part in _FRIEND_FORMS:
            if "a.friend" not in line.text.lower():
                needs.add("friend")
        elif name in _TRACKED:
            brought = form in ("a", "A") or (article == "a" and before == " ")
            if name not in mentions and (brought or form):
                introduces.add(name)
            elif name not in mentions and before.lower().endswith("the "):
                needs.add(name)
            mentions.add(name)
        article, before = form.lower(), ""
    return Choice(line.text, parts, frozenset(needs), frozenset(introduces), frozenset(mentions))


def _checked_pieces(line: Line) -> tuple[tuple[str, bool], ...]:
    text = line.text
    if not text.isascii():
        odd = next(letter for letter in text if not letter.isascii())
        raise line.error(f"{odd!r} is not ASCII; write straight quotes and letters without accents")
    if "  " in text or "\t" in text:
        raise line.error("two spaces or a tab between words; write one space")
    if text.count('"') % 2:
        raise line.error('a quotation mark has no partner; open and close what is said with "')
    try:
        parts = tuple(pieces(text))
    except ValueError as error:
        raise line.error(str(error)) from None
    for sentence in sentences(text):
        if not _BEGIN.match(sentence):
            raise line.error(f"sentence {sentence!r} begins with no capital letter; write one")
        if not _END.search(sentence):
            raise line.error(f"sentence {sentence!r} has no end mark; end it with . or ! or ?")
    return parts
