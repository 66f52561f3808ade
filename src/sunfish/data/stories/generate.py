"""Owns the making of stories: the state of a story, its text, its prompt, and its split."""

from __future__ import annotations

import hashlib
from itertools import count
from random import Random
from typing import NamedTuple, TypeVar

from sunfish.data.stories import chances, facts, prompts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.choices import Choice
from sunfish.data.stories.grammar import DOMAIN, SLOTS, render
from sunfish.data.stories.plots import PLOTS
from sunfish.data.stories.reading import Reading
from sunfish.data.stories.shared import ENDING_LINES, FACT_LINES, MOOD_LINES, MOOD_MARKERS, OPENINGS

T = TypeVar("T")


class Story(NamedTuple):
    """A prompt and a text that meets it; `plot` names the plot's shape, for statistics only."""

    prompt: str
    text: str
    plot: str


# split -> the remainders of a text's hash that belong to it
_SHARES = {
    "train": range(0, 70),
    "validation": range(70, 80),
    "test": range(80, 90),
    "compositional": range(90, 100),
}
SPLITS: tuple[str, ...] = tuple(_SHARES)
_MIN_WORDS, _SHORT, _MAX_WORDS = 40, 70, 150

# the slots whose words a prompt may require
_WORD_SLOTS = ("thing", "thing2", "food", "color", "tree", "flower", "critter", "instrument")
_MENTIONED = {thing: SLOTS[thing].texts for thing in _WORD_SLOTS}


class _Draft:
    """One candidate: the state is drawn as sentences ask for it, and stays."""

    def __init__(self, rng: Random, compositional: bool) -> None:
        self._random = rng.random
        self.plot = self.pick(chances.PLOT_NAMES)
        self._settings, self._steps = PLOTS[self.plot]
        self.mood = self.pick(chances.MOODS)
        self.ending = self.pick(chances.ENDINGS)
        while self.ending in chances.UNFIT.get(self.mood, ()):
            self.ending = self.pick(chances.ENDINGS)
        self.state: dict[str, int] = {}
        self._spoken_of: set[str] = set()
        hero = self._character("hero", -1, -1)
        kind = self._settings.hero_kind
        if kind and self._random() < self._settings.hero_share:
            self.state["hero.kind"] = lx.KINDS.index(kind)
            hero = kind
        friend = self._character("friend", self.state["hero.name"], self.state["hero.kind"])
        thing = self._draw("thing")
        self.subject = ""
        about = self.about = self._settings.about
        if about == "subject":
            self.state["subject"] = self.pick(chances.SUBJECTS)
            self.subject = facts.SUBJECTS[self.state["subject"]].lemma
        elif about == "question":
            self.subject = facts.QUESTIONS[self._draw("question")].lemma
        mentioned = [hero, friend, lx.THINGS[thing], lx.THINGS[self._draw("thing2")]]
        if self.subject:
            mentioned.append(self.subject)
        self.topics = [self.subject] if self.subject else [hero, lx.THINGS[thing]]
        if about == "place":
            self.topics = []
        self.main = ""
        self.patience = self._random()
        self._place(mentioned, compositional)
        if about == "place":
            self.topics = [lx.PLACE_WORDS[self.state["place"]], hero]

    def pick(self, items: list[T] | tuple[T, ...]) -> T:
        return items[int(self._random() * len(items))]

    def _place(self, mentioned: list[str], compositional: bool) -> None:
        topics = [topic for topic in self.topics if chances.held_places(topic)]
        if compositional and topics:
            self.main = self.pick(topics)
            self.state["place"] = self.pick(sorted(chances.held_places(self.main)))
            return
        held = frozenset().union(*map(chances.held_places, mentioned))
        place = self._draw("place")
        while place in held:
            place = self.state["place"] = int(self._random() * DOMAIN["place"])

    def _character(self, who: str, name: int, kind: int) -> str:
        mine = self.pick(chances.KINDS)
        while mine == kind:
            mine = self.pick(chances.KINDS)
        word = lx.KINDS[mine]
        names = chances.FEMALE if word in lx.FEMALE_KINDS else chances.MALE if word in lx.MALE_KINDS else None
        named = self.pick(names) if names else int(self._random() * len(lx.NAMES))
        while named == name:
            named = self.pick(names) if names else int(self._random() * len(lx.NAMES))
        self.state[who + ".kind"], self.state[who + ".name"] = mine, named
        return word

    def _draw(self, component: str) -> int:
        fits = self._settings.fits.get(component)
        value = self.pick(fits) if fits else int(self._random() * DOMAIN[component])
        twin = {"thing2": "thing", "color2": "color"}.get(component)
        while twin and value == self.state.get(twin):
            value = int(self._random() * DOMAIN[component])
        self.state[component] = value
        return value

    def _say(self, chosen: Choice) -> str:
        for part, is_slot in chosen.parts:
            if is_slot:
                component = SLOTS[part].component
                if component not in self.state:
                    self._draw(component)
        self._spoken_of |= chosen.mentions
        return render(chosen.parts, self.state)

    def _fitting(self, choices: tuple[Choice, ...]) -> Choice:
        """A choice that takes nothing unknown for granted and brings in nothing twice, where there is one."""
        known = self._spoken_of
        fitting = [one for one in choices if one.needs <= known and known.isdisjoint(one.introduces)]
        if not fitting:
            fitting = [one for one in choices if one.needs <= known]
        return self.pick(fitting or choices)

    def text(self) -> str:
        """The story, step by step."""
        said: list[str] = []
        lines: list[Choice] = []
        if self.subject:
            told = FACT_LINES[self.about][self.state[self.about]]
            keep = 2 + int(self._random() * 4) if self.about == "subject" else len(told)
            chosen = sorted(range(len(told)), key=lambda _: self._random())[:keep]
            lines = [told[n] for n in sorted(chosen)]
        brevity = self._random() ** 0.5
        for marker, choices, optional in self._steps:
            if choices:
                if not optional or self._random() > brevity:
                    said.append(self._say(self._fitting(choices)))
            elif marker == "opening":
                said.append(self._say(self.pick(OPENINGS)))
            elif marker == "mood_first" or (
                marker in MOOD_MARKERS and self._random() > brevity * (0.5 if marker == "mood_last" else 1)
            ):
                said.append(self._say(self.pick(MOOD_LINES[marker][self.mood])))
            elif marker == "facts":
                said.extend(map(self._say, lines[:3] if self.about == "subject" else lines))
            elif marker == "more_facts":
                said.extend(map(self._say, lines[3:]))
            elif marker == "ending":
                said.append(self._say(self.pick(ENDING_LINES[self.ending])))
        return " ".join(filter(None, said))

    def prompt(self, reading: Reading, compositional: bool) -> str:
        """A prompt that asks for a random part of what is true; empty where no topic stands out."""
        topics = [topic for topic in self.topics if reading.topic(topic)]
        if compositional:
            topics = [topic for topic in topics if topic == self.main]
        if not topics or not reading.mood(self.mood) or not reading.ending(self.ending):
            return ""
        topic, name = self.pick(topics), lx.NAMES[self.state["hero.name"]]
        place = lx.PLACE_WORDS[self.state["place"]]
        plain = not compositional and self._random() < 0.2
        wanted: dict[str, list[str]] = {}
        if plain or compositional or self._random() < 0.9:
            wanted["topic"] = [topic]
        if not plain:
            offers = [
                ("name", name, 0.5),
                ("place", place, 1.0 if compositional else 0.35),
                ("mood", self.mood, 0.45),
                ("ending", self.ending, 0.4),
            ]
            for kind, value, chance in offers:
                if self._random() < chance and reading.meets(f"{kind}:{value}") and value != topic:
                    wanted[kind] = [value]
            words = [texts[self.state[slot]] for slot, texts in _MENTIONED.items() if slot in self.state]
            words = [word for word in dict.fromkeys(words) if word != topic and reading.word(word)]
            if words and self._random() < 0.4:
                start = int(self._random() * len(words))
                wanted["word"] = words[start : start + 1 + int(self._random() * 3)]
        if not wanted:
            wanted["topic"] = [topic]
        question = facts.QUESTIONS[self.state["question"]].phrase if self.about == "question" else ""
        describing = self.about in ("subject", "place") and topic == self.topics[0]
        return prompts.write(wanted, self.pick, question, describing)


def story(seed: int, split: str, index: int) -> Story:
    """Story `index` of `split`: a function of its three arguments alone.

    Candidates are drawn until the hash of one's text falls in the split's share, so no text is in two splits
    whatever the seeds. Raises ValueError for a split that does not exist.
    """
    if split not in _SHARES:
        raise ValueError(f"split is {split!r}, which does not exist; use one of {', '.join(SPLITS)}")
    share, compositional = _SHARES[split], split == "compositional"
    for attempt in count():
        key = hashlib.blake2b(f"{seed}/{split}/{index}/{attempt}".encode(), digest_size=8).digest()
        draft = _Draft(Random(int.from_bytes(key, "big")), compositional)
        text = draft.text()
        if int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % 100 not in share:
            continue
        # The limit is drawn too: long plots would otherwise crowd out the short stories that beginners learn from.
        limit = _SHORT + (_MAX_WORDS - _SHORT) * draft.patience
        if not _MIN_WORDS <= text.count(" ") + 1 <= limit:
            continue
        prompt = draft.prompt(Reading(text), compositional)
        if prompt:
            return Story(prompt, text, draft.plot)
    raise AssertionError("unreachable: candidates never end")
