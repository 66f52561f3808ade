"""Owns one candidate for a story: its state, drawn as its sentences ask for it, its text and its prompt."""

from __future__ import annotations

from random import Random
from typing import TypeVar

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories import sampling_weights as weights
from sunfish.data.stories.choices import Choice
from sunfish.data.stories.features import StoryFeatures
from sunfish.data.stories.grammar import DOMAIN, SLOTS, render
from sunfish.data.stories.held_out import held_out_places
from sunfish.data.stories.plots import PLOTS
from sunfish.data.stories.prompts import write_prompt
from sunfish.data.stories.shared import ENDING_LINES, FACT_LINES, MOOD_LINES, MOOD_MARKERS, OPENINGS

T = TypeVar("T")

_SHORTEST_LIMIT, _LONGEST_LIMIT = 70, 150
# The slots whose words a prompt may require -> those words.
_REQUIRABLE = {
    slot: SLOTS[slot].texts
    for slot in ("thing", "thing2", "food", "color", "tree", "flower", "critter", "instrument")
}
# Components that differ from another one.
_DIFFERS_FROM = {"thing2": "thing", "color2": "color"}
# A description tells this many facts at `@facts` and the rest at `@more_facts`.
_FACTS_AT_ONCE = 3


class Draft:
    """One candidate: `plot` is its plot's name, `max_words` the length that it must not exceed.

    Args:
        rng: the source of every choice; the same one gives the same draft.
        compositional: whether the draft shows a held-out pair of a topic and a place.
    """

    def __init__(self, rng: Random, compositional: bool) -> None:
        self._random = rng.random
        self._compositional = compositional
        self.plot = self._pick(weights.WEIGHTED_PLOTS)
        self._settings, self._steps = PLOTS[self.plot]
        self._mood = self._pick(weights.MOODS)
        self._ending = self._pick(weights.ENDINGS)
        while self._ending in weights.UNSUITABLE_ENDINGS.get(self._mood, ()):
            self._ending = self._pick(weights.ENDINGS)
        self._state: dict[str, int] = {}
        self._mentioned: set[str] = set()
        hero = self._draw_character("hero", -1, -1)
        if self._settings.hero_kind and self._random() < self._settings.hero_share:
            hero = self._settings.hero_kind
            self._state["hero.kind"] = lx.KINDS.index(hero)
        friend = self._draw_character("friend", self._state["hero.name"], self._state["hero.kind"])
        thing = lx.THINGS[self._draw("thing")]
        lemma = self._draw_fact()
        topics = [hero, friend, thing, lx.THINGS[self._draw("thing2")], *([lemma] if lemma else [])]
        self._topics = [lemma] if lemma else [hero, thing]
        if self._settings.about == "place":
            self._topics = []
        # Long plots would otherwise crowd out the short stories that beginners learn from.
        self.max_words = _SHORTEST_LIMIT + (_LONGEST_LIMIT - _SHORTEST_LIMIT) * self._random()
        self._held_out_topic = ""
        self._draw_place(topics)
        if self._settings.about == "place":
            self._topics = [lx.PLACE_WORDS[self._state["place"]], hero]

    def _pick(self, items: list[T] | tuple[T, ...]) -> T:
        return items[int(self._random() * len(items))]

    def _draw(self, component: str) -> int:
        """A new value of `component`, among those that suit the plot."""
        fits = self._settings.fits.get(component)
        value = self._pick(fits) if fits else int(self._random() * DOMAIN[component])
        other = _DIFFERS_FROM.get(component)
        while other and value == self._state.get(other):
            value = int(self._random() * DOMAIN[component])
        self._state[component] = value
        return value

    def _draw_character(self, role: str, taken_name: int, taken_kind: int) -> str:
        """The word for the kind of a new character, whose name suits its sex."""
        kind = self._pick(weights.WEIGHTED_KINDS)
        while kind == taken_kind:
            kind = self._pick(weights.WEIGHTED_KINDS)
        word = lx.KINDS[kind]
        names: list[int] | range = range(len(lx.NAMES))
        if word in lx.FEMALE_KINDS:
            names = weights.FEMALE_NAMES
        elif word in lx.MALE_KINDS:
            names = weights.MALE_NAMES
        name = names[int(self._random() * len(names))]
        while name == taken_name:
            name = names[int(self._random() * len(names))]
        self._state[role + ".kind"], self._state[role + ".name"] = kind, name
        return word

    def _draw_fact(self) -> str:
        """The topic of the facts that the plot tells; "" where it tells none."""
        if self._settings.about == "subject":
            self._state["subject"] = self._pick(weights.WEIGHTED_SUBJECTS)
            return facts.SUBJECTS[self._state["subject"]].lemma
        if self._settings.about == "question":
            return facts.QUESTIONS[self._draw("question")].lemma
        return ""

    def _draw_place(self, topics: list[str]) -> None:
        """A place that is held out for a topic of a compositional draft, else for none of `topics`."""
        candidates = [topic for topic in self._topics if held_out_places(topic)]
        if self._compositional and candidates:
            self._held_out_topic = self._pick(candidates)
            self._state["place"] = self._pick(sorted(held_out_places(self._held_out_topic)))
            return
        held_out = frozenset().union(*map(held_out_places, topics))
        place = self._draw("place")
        while place in held_out:
            place = self._state["place"] = int(self._random() * DOMAIN["place"])

    def text(self) -> str:
        """The story, step by step."""
        told = self._draw_told_facts()
        at_once = _FACTS_AT_ONCE if self._settings.about == "subject" else len(told)
        brevity = self._random() ** 0.5
        passages: list[str] = []
        for marker, choices, optional in self._steps:
            if choices:
                if not optional or self._random() > brevity:
                    passages.append(self._say(self._suitable(choices)))
            elif marker == "opening":
                passages.append(self._say(self._pick(OPENINGS)))
            elif marker in MOOD_MARKERS:
                if marker == "mood_first" or self._random() > brevity * (0.5 if marker == "mood_last" else 1):
                    passages.append(self._say(self._pick(MOOD_LINES[marker][self._mood])))
            elif marker == "facts":
                passages.extend(map(self._say, told[:at_once]))
            elif marker == "more_facts":
                passages.extend(map(self._say, told[at_once:]))
            elif marker == "ending":
                passages.append(self._say(self._pick(ENDING_LINES[self._ending])))
        return " ".join(filter(None, passages))

    def _draw_told_facts(self) -> list[Choice]:
        """Some facts about a subject or all that answer a question, in the order of their file."""
        about = self._settings.about
        if about not in FACT_LINES:
            return []
        lines = FACT_LINES[about][self._state[about]]
        count = 2 + int(self._random() * 4) if about == "subject" else len(lines)
        shuffled = sorted(range(len(lines)), key=lambda _: self._random())
        return [lines[n] for n in sorted(shuffled[:count])]

    def _say(self, choice: Choice) -> str:
        for part, is_slot in choice.parts:
            if is_slot:
                component = SLOTS[part].component
                if component not in self._state:
                    self._draw(component)
        self._mentioned |= choice.mentions
        return render(choice.parts, self._state)

    def _suitable(self, choices: tuple[Choice, ...]) -> Choice:
        """A choice that takes nothing unknown for granted and introduces nothing twice, if there is one."""
        known = self._mentioned
        suitable = [
            choice for choice in choices if choice.needs <= known and known.isdisjoint(choice.introduces)
        ]
        if not suitable:
            suitable = [choice for choice in choices if choice.needs <= known]
        return self._pick(suitable or choices)

    def prompt(self, features: StoryFeatures) -> str:
        """A prompt that asks for a random part of what is true of the text; "" where no topic stands out."""
        topics = [topic for topic in self._topics if features.has_topic(topic)]
        if self._compositional:
            topics = [topic for topic in topics if topic == self._held_out_topic]
        if not topics or not features.has_mood(self._mood) or not features.has_ending(self._ending):
            return ""
        topic = self._pick(topics)
        constraints = self._draw_constraints(features, topic)
        about = self._settings.about
        question = facts.QUESTIONS[self._state["question"]].phrase if about == "question" else ""
        describing = about in ("subject", "place") and topic == self._topics[0]
        return write_prompt(constraints, self._pick, question, describing)

    def _draw_constraints(self, features: StoryFeatures, topic: str) -> dict[str, list[str]]:
        """Kind of constraint -> values that `features` satisfy; a held-out pair asks for topic and place."""
        compositional = self._compositional
        plain = not compositional and self._random() < 0.2
        constraints: dict[str, list[str]] = {}
        if plain or compositional or self._random() < 0.9:
            constraints["topic"] = [topic]
        if not plain:
            for kind, value, probability in (
                ("name", lx.NAMES[self._state["hero.name"]], 0.5),
                ("place", lx.PLACE_WORDS[self._state["place"]], 1.0 if compositional else 0.35),
                ("mood", self._mood, 0.45),
                ("ending", self._ending, 0.4),
            ):
                if self._random() < probability and features.satisfies(f"{kind}:{value}") and value != topic:
                    constraints[kind] = [value]
            words = [texts[self._state[slot]] for slot, texts in _REQUIRABLE.items() if slot in self._state]
            words = [word for word in dict.fromkeys(words) if word != topic and features.has_word(word)]
            if words and self._random() < 0.4:
                start = int(self._random() * len(words))
                constraints["word"] = words[start : start + 1 + int(self._random() * 3)]
        return constraints or {"topic": [topic]}
