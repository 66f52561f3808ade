"""Owns what can be read off a text alone: its words, topic, mood, place and ending."""

from __future__ import annotations

import re
from collections import Counter

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.grammar import sentences

WORD = re.compile(r"[A-Za-z]+")
_LEMMAS = dict.fromkeys(
    (*lx.KINDS, *lx.THINGS, *lx.PLACE_WORDS, *(subject.lemma for subject in facts.SUBJECTS + facts.QUESTIONS))
)
# every written form of a topic -> the topic
TOPIC_FORMS: dict[str, str] = {form: lemma for lemma in _LEMMAS for form in (lx.plural(lemma), lemma)}
_MOOD_OF = {word: mood for mood, words in lx.MOODS.items() for word in words}
# A topic is named this early and this often.
_TOPIC_SENTENCES, _TOPIC_TIMES = 3, 2


class Reading:
    """One text, read once, and the questions that can be put to it."""

    def __init__(self, text: str) -> None:
        parts = sentences(text)
        spelled = WORD.findall(text)
        self.names = set(spelled).intersection(lx.NAMES)
        self.words = Counter(map(str.lower, spelled))
        self._start = set(WORD.findall(" ".join(parts[:_TOPIC_SENTENCES]).lower()))
        self._end = set(WORD.findall(" ".join(parts[-2:]).lower()))
        moods: Counter[str] = Counter()
        for word in self.words.keys() & _MOOD_OF.keys():
            moods[_MOOD_OF[word]] += self.words[word]
        self.moods = moods

    def topic(self, lemma: str) -> bool:
        """Whether the text speaks of `lemma` early and more than once."""
        forms = {lemma, lx.plural(lemma)}
        return bool(forms & self._start) and sum(self.words[form] for form in forms) >= _TOPIC_TIMES

    def mood(self, mood: str) -> bool:
        """Whether the text uses words of `mood`, and more of them than of any other mood."""
        others = max((count for name, count in self.moods.items() if name != mood), default=0)
        return self.moods[mood] >= 2 and self.moods[mood] > others

    def ending(self, ending: str) -> bool:
        """Whether the last two sentences show `ending`."""
        return bool(self._end.intersection(lx.ENDINGS[ending][1]))

    def word(self, word: str) -> bool:
        """Whether `word` occurs, in the singular or the plural."""
        return word in self.words or lx.plural(word) in self.words

    def meets(self, key: str) -> bool:
        """Whether the text meets the demand `key`, such as "topic:robot" or "name:Mia"."""
        kind, _, value = key.partition(":")
        if kind == "topic":
            return self.topic(value)
        if kind == "mood":
            return self.mood(value)
        if kind == "ending":
            return self.ending(value)
        if kind == "name":
            return value in self.names
        return self.word(value)
