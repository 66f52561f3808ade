"""Owns how often each plot, kind of character and subject is drawn, and which endings mock a mood."""

from __future__ import annotations

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.plots import PLOTS
from sunfish.data.stories.shared import ENDING_LINES, MOOD_LINES

# Topics that people ask for more often than for others -> how many times as often they are drawn.
_WEIGHTS = {"robot": 6, "dog": 6, "cat": 3, "girl": 3, "boy": 3, "dragon": 2, "ocean": 8}

# Each list holds an entry as many times as its weight, so that a uniform draw is a weighted one.
WEIGHTED_PLOTS = [name for name, plot in PLOTS.items() for _ in range(plot.settings.weight)]
WEIGHTED_KINDS = [n for n, kind in enumerate(lx.KINDS) for _ in range(_WEIGHTS.get(kind, 1))]
WEIGHTED_SUBJECTS = [
    n for n, subject in enumerate(facts.SUBJECTS) for _ in range(_WEIGHTS.get(subject.lemma, 1))
]
MOODS, ENDINGS = tuple(MOOD_LINES["mood_first"]), tuple(ENDING_LINES)
FEMALE_NAMES = [n for n, name in enumerate(lx.NAMES) if name in lx.FEMALE_NAMES]
MALE_NAMES = [n for n, name in enumerate(lx.NAMES) if name in lx.MALE_NAMES]
# A mood -> the endings that would mock it.
UNSUITABLE_ENDINGS = {"sad": ("laughter", "dance", "party")}
