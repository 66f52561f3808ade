"""Owns what is likely, and which pairs of topic and place are held out."""

from __future__ import annotations

from zlib import crc32

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.plots import PLOTS
from sunfish.data.stories.shared import ENDING_LINES, MOOD_LINES

_HELD_ONE_IN = 20

PLOT_NAMES = [name for name, plot in PLOTS.items() for _ in range(plot.settings.weight)]
_COMMON = {"robot": 6, "dog": 6, "cat": 3, "girl": 3, "boy": 3, "dragon": 2, "ocean": 8}
KINDS = [kind for kind, word in enumerate(lx.KINDS) for _ in range(_COMMON.get(word, 1))]
SUBJECTS = [n for n, subject in enumerate(facts.SUBJECTS) for _ in range(_COMMON.get(subject.lemma, 1))]
MOODS, ENDINGS = tuple(MOOD_LINES["mood_first"]), tuple(ENDING_LINES)
FEMALE = [number for number, name in enumerate(lx.NAMES) if name in lx.FEMALE_NAMES]
MALE = [number for number, name in enumerate(lx.NAMES) if name in lx.MALE_NAMES]
# endings that would mock a mood
UNFIT = {"sad": ("laughter", "dance", "party")}


def held_out(topic: str, place: str) -> bool:
    """Whether the pair occurs in the compositional split only."""
    return crc32(f"{topic} {place}".encode()) % _HELD_ONE_IN == 0


_HELD_PLACES: dict[str, frozenset[int]] = {}


def held_places(topic: str) -> frozenset[int]:
    """The numbers of the places that are held out for `topic`."""
    if topic not in _HELD_PLACES:
        _HELD_PLACES[topic] = frozenset(n for n, word in enumerate(lx.PLACE_WORDS) if held_out(topic, word))
    return _HELD_PLACES[topic]
