"""Owns the making of stories: each a function of seed, split and index, and no text in two splits."""

from __future__ import annotations

import hashlib
from itertools import count
from random import Random
from typing import NamedTuple

from sunfish.data.stories.draft import Draft
from sunfish.data.stories.features import StoryFeatures


class Story(NamedTuple):
    """A prompt and a text that satisfies it; `plot` names the text's plot, for statistics only."""

    prompt: str
    text: str
    plot: str


# Split -> the remainders of a text's hash that belong to it.
_SHARES = {
    "train": range(0, 70),
    "validation": range(70, 80),
    "test": range(80, 90),
    "compositional": range(90, 100),
}
SPLITS: tuple[str, ...] = tuple(_SHARES)
_MIN_WORDS = 40


def story(seed: int, split: str, index: int) -> Story:
    """Story `index` of `split`: a function of the three arguments alone.

    Candidates are drawn until the hash of one's text falls in the split's share, so no text is in two splits
    whatever the seeds.

    Args:
        seed: any number; stories of different seeds differ.
        split: one of SPLITS; "compositional" shows pairs of a topic and a place that no other split shows.
        index: any number.

    Returns:
        The story, whose text satisfies every constraint of its prompt.

    Raises:
        ValueError: the split does not exist.
    """
    if split not in _SHARES:
        raise ValueError(f"split is {split!r}, which does not exist; use one of {', '.join(SPLITS)}")
    share, compositional = _SHARES[split], split == "compositional"
    for attempt in count():
        draft = Draft(Random(_hash(f"{seed}/{split}/{index}/{attempt}")), compositional)
        text = draft.text()
        if _hash(text) % 100 not in share:
            continue
        if not _MIN_WORDS <= text.count(" ") + 1 <= draft.max_words:
            continue
        prompt = draft.prompt(StoryFeatures(text))
        if prompt:
            return Story(prompt, text, draft.plot)
    raise AssertionError("unreachable: candidates never end")


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
