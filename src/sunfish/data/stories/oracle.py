"""Owns the judgement of a text: which demands of a prompt it meets, and which sentences are grammatical.

The oracle reads strings only; it knows nothing of how a text was made.
"""

from __future__ import annotations

from functools import lru_cache

from sunfish.data.stories import prompts
from sunfish.data.stories.grammar import Recogniser, sentences
from sunfish.data.stories.reading import Reading
from sunfish.data.stories.templates import sentence_templates


@lru_cache(maxsize=1)
def _recogniser() -> Recogniser:
    return Recogniser(sentence_templates())


def demands(prompt: str) -> dict[str, str]:
    """What `prompt` demands, as key -> value ("name:Mia" -> "Mia"); empty where it states nothing known."""
    return prompts.read(prompt)


def check(prompt: str, text: str) -> dict[str, bool]:
    """For each demand of `prompt`, whether `text` meets it."""
    reading = Reading(text)
    return {key: reading.meets(key) for key in demands(prompt)}


def grammatical(text: str) -> list[tuple[str, bool]]:
    """The sentences of `text`, each with whether the grammar of the stories can produce it."""
    recogniser = _recogniser()
    return [(sentence, recogniser.accepts(sentence)) for sentence in sentences(text)]
