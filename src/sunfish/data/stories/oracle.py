"""Owns the judgment of a text: which constraints of a prompt it satisfies, which sentences are grammatical.

The oracle reads strings only; it knows nothing of how a text was made.
"""

from __future__ import annotations

from functools import lru_cache

from sunfish.data.stories.constraints import parse_constraints
from sunfish.data.stories.features import StoryFeatures
from sunfish.data.stories.grammar import sentences
from sunfish.data.stories.recognizer import Recognizer
from sunfish.data.stories.templates import sentence_templates


@lru_cache(maxsize=1)
def _recognizer() -> Recognizer:
    return Recognizer(sentence_templates())


def check(prompt: str, text: str) -> dict[str, bool]:
    """For each constraint that `prompt` states, whether `text` satisfies it."""
    features = StoryFeatures(text)
    return {constraint: features.satisfies(constraint) for constraint in parse_constraints(prompt)}


def grammatical(text: str) -> list[tuple[str, bool]]:
    """The sentences of `text`, each with whether the grammar of the stories can produce it."""
    recognizer = _recognizer()
    return [(sentence, recognizer.accepts(sentence)) for sentence in sentences(text)]
