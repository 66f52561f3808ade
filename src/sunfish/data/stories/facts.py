"""Owns the true things that descriptions and explanations tell: subjects, each with its sentences."""

from __future__ import annotations

from typing import NamedTuple

from sunfish.data.stories import facts_text


class Subject(NamedTuple):
    """One subject: its word, how a sentence speaks of it, how a prompt names it, and its sentences."""

    lemma: str
    phrase: str
    described: str
    lines: tuple[str, ...]


def parse(text: str) -> tuple[Subject, ...]:
    """Subjects out of blocks headed `= lemma | phrase | description`, one sentence a line."""
    found = []
    for block in text.strip().split("\n\n"):
        head, *lines = block.strip().splitlines()
        lemma, phrase, described = (part.strip() for part in head.removeprefix("= ").split("|"))
        found.append(Subject(lemma, phrase, described, tuple(lines)))
    return tuple(found)


SUBJECTS: tuple[Subject, ...] = parse(facts_text.DESCRIPTIONS)
QUESTIONS: tuple[Subject, ...] = parse(facts_text.EXPLANATIONS)
