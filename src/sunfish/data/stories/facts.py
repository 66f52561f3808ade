"""Owns the true things that descriptions and explanations tell: topics, each with its sentences."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable
from typing import NamedTuple

from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.text_files import FOLDER, Block, Line, read_blocks

_WORD = re.compile(r"[a-z]+")


class Subject(NamedTuple):
    """What is described: its word, how sentences and prompts speak of it, and its sentences."""

    lemma: str
    phrase: str
    described: str
    lines: tuple[Line, ...]


class Question(NamedTuple):
    """What is explained: the word of its topic, the question as a clause, and the sentences of the answer."""

    lemma: str
    phrase: str
    lines: tuple[Line, ...]


def parse_subjects(file: Traversable) -> tuple[Subject, ...]:
    """The subjects of `file`: blocks headed "== topic | in general | described", a sentence a line.

    Raises:
        ValueError: a head is malformed or occurs twice, or the sentences never name the topic.
    """
    subjects: dict[str, Subject] = {}
    for block in read_blocks(file):
        lemma, phrase, described = _head(block, "ocean | the ocean | the ocean")
        if lemma in subjects:
            raise block.head.error(f"topic {lemma!r} occurs twice; put its sentences under one head")
        subjects[lemma] = Subject(lemma, phrase, described, _sentences(block, lemma))
    return tuple(subjects.values())


def parse_questions(file: Traversable) -> tuple[Question, ...]:
    """The questions of `file`: blocks headed "== topic | question", a sentence a line.

    Raises:
        ValueError: a head is malformed or occurs twice, or the sentences never name the topic.
    """
    questions: dict[str, Question] = {}
    for block in read_blocks(file):
        lemma, phrase = _head(block, "kite | how a kite flies")
        if phrase in questions:
            raise block.head.error(f"question {phrase!r} occurs twice; put its sentences under one head")
        questions[phrase] = Question(lemma, phrase, _sentences(block, lemma))
    return tuple(questions.values())


def _head(block: Block, example: str) -> list[str]:
    """The parts of a block's head, as many as `example` has."""
    head = block.head
    parts = [part.strip() for part in head.text.split("|")]
    if len(parts) != example.count("|") + 1 or not all(parts):
        raise head.error(f"head '== {head.text}' is malformed; write it like '== {example}'")
    lemma = parts[0]
    if not _WORD.fullmatch(lemma):
        raise head.error(f"topic {lemma!r} is not one word in lower case; choose one that is")
    for part in parts[1:]:
        if not _names(part, lemma):
            raise head.error(f"{part!r} does not name {_forms(lemma)}; name it, or add to plurals.txt")
    return parts


def _sentences(block: Block, lemma: str) -> tuple[Line, ...]:
    lines = tuple(line for paragraph in block.paragraphs for line in paragraph)
    if not any(_names(line.text, lemma) for line in lines):
        raise block.head.error(f"no sentence names {_forms(lemma)}; name it, or add to plurals.txt")
    return lines


def _forms(lemma: str) -> str:
    return " or ".join(dict.fromkeys((repr(lemma), repr(lx.plural(lemma)))))


def _names(text: str, lemma: str) -> bool:
    return not {lemma, lx.plural(lemma)}.isdisjoint(_WORD.findall(text.lower()))


SUBJECTS: tuple[Subject, ...] = parse_subjects(FOLDER / "facts" / "descriptions.txt")
QUESTIONS: tuple[Question, ...] = parse_questions(FOLDER / "facts" / "explanations.txt")
