"""Owns what is likely, what suits what, and which pairs of topic and place are held out."""

from __future__ import annotations

from zlib import crc32

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.grammar import SLOTS
from sunfish.data.stories.plots import ENDING_LINES, MOOD_LINES, PLOTS

_HELD_ONE_IN = 20

PLOT_NAMES = [name for name in PLOTS for _ in range({"description": 3, "explanation": 2}.get(name, 1))]
_COMMON = {"robot": 6, "dog": 6, "cat": 3, "girl": 3, "boy": 3, "dragon": 2, "ocean": 8}
KINDS = [kind for kind, word in enumerate(lx.KINDS) for _ in range(_COMMON.get(word, 1))]
SUBJECTS = [n for n, subject in enumerate(facts.SUBJECTS) for _ in range(_COMMON.get(subject.lemma, 1))]
MOODS, ENDINGS = tuple(MOOD_LINES["m1"]), tuple(ENDING_LINES)
FEMALE = [number for number, name in enumerate(lx.NAMES) if name in lx.FEMALE_NAMES]
MALE = [number for number, name in enumerate(lx.NAMES) if name in lx.MALE_NAMES]
# Plots in which not every value makes sense, and those that do.
_FITTING = {
    ("building", "thing"): "kite lamp drum boat wagon sled puppet box basket doll toy rocket train clock",
    ("broken_repaired", "thing"): "lamp drum clock bell umbrella teapot cup doll puppet boat whistle crown "
    "mirror box telescope guitar violin kettle vase toy wheel sled watch mask "
    "camera statue",
    ("garden", "thing"): "spoon shell cup bucket boot hammer coin pencil paintbrush feather button bottle",
    ("rescue", "thing"): "rope scarf umbrella blanket ribbon kite coat flag backpack basket sled",
    ("odd_noise", "thing"): "box jar drum bell basket teapot bottle suitcase lantern umbrella clock kettle",
    ("old_attic_map", "container"): "drawer chest cupboard crate",
    ("baking", "food"): "apple carrot banana pear",
    ("baking", "thing"): "spoon hammer paintbrush feather flute pencil",
    ("fable", "thing2"): "rope wheel hammer basket umbrella bucket suitcase wagon",
    ("robot_learns", "virtue"): "kindness sharing friendship trust patience",
}
FITS = {
    key: tuple(n for n, text in enumerate(SLOTS[key[1]].texts) if text in words.split())
    for key, words in _FITTING.items()
}
_LARGE = lx.words("boat wagon sled statue rocket train wheel")
FITS.update(
    {
        (plot, "thing"): tuple(n for n, text in enumerate(lx.THINGS) if text not in _LARGE)
        for plot in lx.words("found_thing lost_thing journey letter promise_kept old_attic_map fear_overcome")
    }
)
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
