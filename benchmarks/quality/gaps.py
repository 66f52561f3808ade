"""Owns what the infilling benchmark cuts out of held-out stories: words, phrases and sentences."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.frame import Run
from benchmarks.generation import STORY_SEED
from sunfish.data.stories import Story, story
from sunfish.data.stories.grammar import sentences
from sunfish.sampling.editing import Span
from sunfish.sampling.pipeline import Pipeline

# Tokens that a gap may have, by what was cut out; two: two sentences, each a gap, with one between.
LENGTHS = {"word": "1-12", "phrase": "1-12", "sentence": "1-24", "two": "1-24", "three": "1-72"}
SMOKE_STORY = Story("A dog.", "Tom ran. He sat. It ate a bun. We hid. I saw it all. She won. They left.", "")
SMOKE_LENGTHS = "1-4"


class Task(NamedTuple):
    """A story, and the ranges of characters that are cut out of it."""

    prompt: str
    text: str
    spans: list[Span]

    def replaced(self, parts: Sequence[str]) -> str:
        """The text with other words in the place of each span."""
        text = self.text
        for (start, end), part in reversed(list(zip(self.spans, parts, strict=True))):
            text = text[:start] + part + text[end:]
        return text

    def masked(self, lengths: Sequence[object]) -> str:
        """The text with ``[MASK:length]`` in the place of each span."""
        return self.replaced([f"[MASK:{length}]" for length in lengths])

    def true_lengths(self, pipeline: Pipeline) -> list[int]:
        """Tokens of what was cut out, the space before it included where a token carries that."""
        tokenizer, lengths = pipeline.tokenizer, []
        for start, end in self.spans:
            spaced = bool(tokenizer.spaced_ids) and self.text[:start].endswith(" ")
            lengths.append(len(tokenizer.encode(self.text[start - spaced : end])))
        return lengths


def draw_spans(text: str, kind: str, rng: random.Random) -> list[Span]:
    """What is cut out: never the first or the last sentence, nor the first two words."""
    if kind in ("word", "phrase"):
        words, count = [match.span() for match in re.finditer(r"\w+", text)], 1
        if kind == "phrase":
            count = rng.randint(3, 5)
        first = rng.randrange(2, len(words) - count - 1)
        return [(words[first][0], words[first + count - 1][1])]
    spans, end = list[Span](), 0
    for sentence in sentences(text):
        start = text.index(sentence, end)
        end = start + len(sentence)
        spans.append((start, end))
    reach = 0 if kind == "sentence" else 2
    first = rng.randrange(1, len(spans) - 1 - reach)
    if kind == "three":
        return [(spans[first][0], spans[first + reach][1])]
    return [spans[first]] if kind == "sentence" else [spans[first], spans[first + reach]]


def draw_tasks(run: Run, kind: str, count: int) -> list[Task]:
    """Held-out stories with something to cut out."""
    rng = random.Random(f"{kind} {run.seed}")
    stories = [SMOKE_STORY] * count
    if not run.smoke:
        stories = [story(STORY_SEED, "test", index) for index in range(count)]
    return [Task(one.prompt, one.text, draw_spans(one.text, kind, rng)) for one in stories]


def gap_lengths(run: Run, kind: str) -> str:
    """The lengths that a gap of this kind may have, as in ``[MASK:1-12]``."""
    return SMOKE_LENGTHS if run.smoke else LENGTHS[kind]
