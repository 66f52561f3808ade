"""Owns the features of a story that its text alone shows: words, names, topic, mood, place and ending."""

from __future__ import annotations

import re
from collections import Counter

from sunfish.data.stories import facts
from sunfish.data.stories import lexicon as lx
from sunfish.data.stories.grammar import sentences

WORD = re.compile(r"[A-Za-z]+")
_LEMMAS = dict.fromkeys(
    (
        *lx.KINDS,
        *lx.THINGS,
        *lx.PLACE_WORDS,
        *(subject.lemma for subject in facts.SUBJECTS),
        *(question.lemma for question in facts.QUESTIONS),
    )
)
# Every written form of a topic -> the topic.
TOPIC_FORMS: dict[str, str] = {form: lemma for lemma in _LEMMAS for form in (lx.plural(lemma), lemma)}
_MOOD_OF = {word: mood for mood, words in lx.MOODS.items() for word in words}
# A story about a topic names it in its first sentences, and this often in all.
_TOPIC_SENTENCES, _TOPIC_COUNT = 3, 2
_MOOD_COUNT = 2


class StoryFeatures:
    """The features of one text, and whether they satisfy a constraint."""

    def __init__(self, text: str) -> None:
        parts = sentences(text)
        spelled = WORD.findall(text)
        self._names = set(spelled).intersection(lx.NAMES)
        self._words = Counter(map(str.lower, spelled))
        self._start = set(WORD.findall(" ".join(parts[:_TOPIC_SENTENCES]).lower()))
        self._end = set(WORD.findall(" ".join(parts[-2:]).lower()))
        self._moods: Counter[str] = Counter()
        for word in self._words.keys() & _MOOD_OF.keys():
            self._moods[_MOOD_OF[word]] += self._words[word]

    def has_topic(self, lemma: str) -> bool:
        """Whether the text names `lemma` early and more than once."""
        forms = {lemma, lx.plural(lemma)}
        return bool(forms & self._start) and sum(self._words[form] for form in forms) >= _TOPIC_COUNT

    def has_mood(self, mood: str) -> bool:
        """Whether the text uses words of `mood`, and more of them than of any other mood."""
        others = max((count for name, count in self._moods.items() if name != mood), default=0)
        return self._moods[mood] >= _MOOD_COUNT and self._moods[mood] > others

    def has_ending(self, ending: str) -> bool:
        """Whether the last two sentences show `ending`."""
        return bool(self._end.intersection(lx.ENDINGS[ending][1]))

    def has_word(self, word: str) -> bool:
        """Whether `word` occurs, in the singular or the plural."""
        return word in self._words or lx.plural(word) in self._words

    def satisfies(self, constraint: str) -> bool:
        """Whether the text satisfies `constraint`, such as "topic:robot" or "name:Mia"."""
        kind, _, value = constraint.partition(":")
        if kind == "topic":
            return self.has_topic(value)
        if kind == "mood":
            return self.has_mood(value)
        if kind == "ending":
            return self.has_ending(value)
        if kind == "name":
            return value in self._names
        return self.has_word(value)
