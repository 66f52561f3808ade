"""Owns the assembly of plots: named lists of steps, each a choice between sentences."""

from __future__ import annotations

from typing import NamedTuple

from sunfish.data.stories import facts, plots_days, plots_lost_and_found, plots_people, plots_shared
from sunfish.data.stories.grammar import pieces, sentences

_TRACKED = ("friend", "thing", "thing2", "food", "critter", "flower", "tree", "container", "instrument")

_FRIEND_FORMS = ("F", "fhe", "fhim", "fhis", "fHe", "fHis")


class Choice(NamedTuple):
    """One way to say a step: its pieces, and what must and must not have been spoken of before it."""

    parts: tuple[tuple[str, bool], ...]
    needs: frozenset[str]
    introduces: frozenset[str]
    mentions: frozenset[str]


class Step(NamedTuple):
    """One step of a plot: choices, or a marker ("m1") for sentences that depend on the story."""

    marker: str
    choices: tuple[Choice, ...] = ()
    optional: bool = False


_TOLD = """
== description
@open

{N} loved to read about {subject}.
{N} wanted to know everything about {subject}.
{He} had {a.color} book about {subject}.
"Tell me about {subject}," said {N}.
On a high shelf, {N} found a thick book about {subject}.

@m1
@facts

?
"I want to draw {subject}," said {N}.
{N} thought about {subject} for a while.
{His} {kin} knew a lot about {subject} too.
~

@m2
@more

?
{N} drew a picture with {a.color} pencil and hung it over {his} bed.
{N} told {a.friend} named {F} all about it.
"The world is full of wonders," said {his} {kin}.

@m3
@end

== explanation
@open

{N} asked {his} {kin} {question}.
"Can you tell me {question}?" asked {N}.
All day, {N} wondered {question}.

@m1

{His} {kin} sat down beside {him} and began to explain.
"That is a good question," said {his} {kin}.
"Look closely, and you will see," said {his} {kin}.

@facts
@m2

?
"So that is how it works!" said {N}.
{N} nodded slowly and drew it all on paper.
{N} asked {num} more questions, and {his} {kin} answered them all.

The next day, {N} explained it to {a.friend} named {F}.
{N} tried it out at home with {a.thing}, and it almost worked.
"Now I will never forget it," said {N}.

@m3
@end
"""


def choice(line: str) -> Choice:
    """A line of a plot, with what it takes for granted ("the kite") and what it brings in ("a kite")."""
    parts = tuple(pieces(line))
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
            if "a.friend" not in line.lower():
                needs.add("friend")
        elif name in _TRACKED:
            brought = form in ("a", "A") or (article == "a" and before == " ")
            if name not in mentions and (brought or form):
                introduces.add(name)
            elif name not in mentions and before.lower().endswith("the "):
                needs.add(name)
            mentions.add(name)
        article, before = form.lower(), ""
    return Choice(parts, frozenset(needs), frozenset(introduces), frozenset(mentions))


def _choices(text: str) -> tuple[Choice, ...]:
    return tuple(choice("" if line == "~" else line) for line in text.strip().splitlines())


def _plots(text: str) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for block in text.strip().split("== ")[1:]:
        name, body = block.split("\n", 1)
        steps: list[Step] = []
        for group in body.strip().split("\n\n"):
            if group.startswith("@"):
                steps.extend(Step(line[1:]) for line in group.splitlines())
            else:
                steps.append(Step("", _choices(group.removeprefix("?\n")), group.startswith("?\n")))
        found[name.strip()] = steps
    return found


_TEXTS = (plots_lost_and_found.PLOTS, plots_people.PLOTS, plots_days.PLOTS, _TOLD)
PLOTS: dict[str, list[Step]] = {name: steps for text in _TEXTS for name, steps in _plots(text).items()}
OPENINGS: tuple[Choice, ...] = _choices(plots_shared.OPENINGS)
MOOD_LINES: dict[str, dict[str, tuple[Choice, ...]]] = {
    marker: {mood: _choices(text) for mood, text in table.items()}
    for marker, table in (
        ("m1", plots_shared.MOOD_FIRST),
        ("m2", plots_shared.MOOD_MIDDLE),
        ("m3", plots_shared.MOOD_LAST),
    )
}
ENDING_LINES: dict[str, tuple[Choice, ...]] = {
    name: _choices(text) for name, text in plots_shared.ENDINGS.items()
}


def sentence_templates() -> list[str]:
    """Every sentence template of every plot, once; what a story can say is exactly what these can say."""
    texts = [*_TEXTS, plots_shared.OPENINGS, *plots_shared.ENDINGS.values()]
    for table in (plots_shared.MOOD_FIRST, plots_shared.MOOD_MIDDLE, plots_shared.MOOD_LAST):
        texts.extend(table.values())
    marks = ("==", "@", "~", "?")
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith(marks)]
    lines.extend(line for subject in facts.SUBJECTS + facts.QUESTIONS for line in subject.lines)
    return list(dict.fromkeys(sentence for line in lines for sentence in sentences(line)))
