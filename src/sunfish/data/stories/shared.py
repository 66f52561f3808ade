"""Owns the sentences that plots share: openings, moods, endings and facts."""

from __future__ import annotations

import re
from collections.abc import Collection
from importlib.resources.abc import Traversable

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.choices import Choice, parse_choice, parse_choices
from sunfish.data.stories.text_files import FOLDER, Block, Line, read_blocks, read_lines

MOOD_MARKERS = ("mood_first", "mood_middle", "mood_last")
_WORD = re.compile(r"[a-z]+")


def parse_openings(file: Traversable) -> tuple[Choice, ...]:
    """The openings of `file`, one a line.

    Raises:
        ValueError: there is none.
    """
    lines = [line for line in read_lines(file) if line.text]
    if not lines:
        raise Line("", str(file), 1).error("no opening; write one line or more")
    return parse_choices(lines)


def parse_moods(file: Traversable) -> dict[str, dict[str, tuple[Choice, ...]]]:
    """The sentences of `file` that carry a mood: marker -> mood -> choices.

    Raises:
        ValueError: a mood or one of its markers is missing, unknown or repeated, or a line uses none of
            the mood's words.
    """
    table: dict[str, dict[str, tuple[Choice, ...]]] = {marker: {} for marker in MOOD_MARKERS}
    for mood, block in _named_blocks(file, "mood", lx.MOODS).items():
        for marker, lines in _sections(block).items():
            table[marker][mood] = _showing(lines, f"mood {mood!r}", lx.MOODS[mood])
    return table


def parse_endings(file: Traversable) -> dict[str, tuple[Choice, ...]]:
    """The last sentences of `file`: ending -> choices.

    Raises:
        ValueError: an ending is missing, unknown or repeated, or a line uses none of the ending's words.
    """
    return {
        ending: _showing(
            [line for paragraph in block.paragraphs for line in paragraph],
            f"ending {ending!r}",
            lx.ENDINGS[ending][1],
        )
        for ending, block in _named_blocks(file, "ending", lx.ENDINGS).items()
    }


def _named_blocks(file: Traversable, kind: str, names: Collection[str]) -> dict[str, Block]:
    """The blocks of `file` by name: one for each of `names`."""
    blocks: dict[str, Block] = {}
    for block in read_blocks(file):
        name = block.head.text
        if name not in names:
            raise block.head.error(f"{kind} {name!r} is unknown; use one of {', '.join(names)}")
        if name in blocks:
            raise block.head.error(f"{kind} {name!r} occurs twice; put its lines under one head")
        blocks[name] = block
    for name in names:
        if name not in blocks:
            raise Line("", str(file), 1).error(f"{kind} {name!r} is missing; add a block '== {name}'")
    return blocks


def _sections(block: Block) -> dict[str, list[Line]]:
    """The lines under each marker of a mood."""
    sections: dict[str, list[Line]] = {}
    expected = ", ".join(f"@{marker}" for marker in MOOD_MARKERS)
    for line in (line for paragraph in block.paragraphs for line in paragraph):
        if line.text.startswith("@"):
            if line.text[1:] not in MOOD_MARKERS or line.text[1:] in sections:
                raise line.error(f"{line.text!r} is unknown or repeated; write each of {expected} once")
            sections[line.text[1:]] = []
        elif not sections:
            raise line.error(f"{line.text!r} stands under no marker; write one of {expected} above it")
        else:
            list(sections.values())[-1].append(line)
    for marker in MOOD_MARKERS:
        if not sections.get(marker):
            raise block.head.error(f"mood {block.head.text!r} has no lines under @{marker}; write some")
    return sections


def _showing(lines: list[Line], owner: str, words: Collection[str]) -> tuple[Choice, ...]:
    """`lines` as choices, each of which uses one of `words` outside its slots."""
    choices = []
    for line in lines:
        choice = parse_choice(line)
        literal = " ".join(part for part, is_slot in choice.parts if not is_slot)
        if set(words).isdisjoint(_WORD.findall(literal.lower())):
            raise line.error(f"the line does not show {owner}; use one of the words {', '.join(words)}")
        choices.append(choice)
    return tuple(choices)


OPENINGS = parse_openings(FOLDER / "openings.txt")
MOOD_LINES = parse_moods(FOLDER / "moods.txt")
ENDING_LINES = parse_endings(FOLDER / "endings.txt")
# What a plot is about -> the choices that tell each of the facts.
FACT_LINES: dict[str, list[tuple[Choice, ...]]] = {
    "subject": [parse_choices(subject.lines) for subject in facts.SUBJECTS],
    "question": [parse_choices(question.lines) for question in facts.QUESTIONS],
}
