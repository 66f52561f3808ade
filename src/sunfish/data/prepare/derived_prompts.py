"""Derives a prompt from a text that has none, so that no text is trained on without one.

A derived prompt names the one or two most *salient* words of its text in one of the phrasings of the built-in
prompts ("Write about the harbour", "Write a story about X and Y", "Describe X"); for about one text in seven
it is the text's first three to eight words instead, so that a beginning works as a prompt as well. A word is
salient where it is frequent in the text but in few documents of the corpus (tf-idf); function words are left
out, and so are words that too few documents contain for the model to learn what they mean. The choice depends
on the text alone, through its hash, and on the word counts of the corpus: the same corpus gives the same
prompts.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from dataclasses import dataclass

WORD = re.compile(r"[^\W\d_]{3,}(?:['\u2019][^\W\d_]+)?")
PIECE = 4_000  # characters; else one long text would be a corpus of one document
KEPT = 50_000  # words whose document count is kept; rarer ones count as unknown

ONE = ("Write about {a}", "Write a story about {a}", "Describe {a}", "Tell me about {a}", "A text about {a}")
TWO = (
    "Write about {a} and {b}",
    "Write a story about {a} and {b}",
    "Describe {a} and {b}",
    "Tell me about {a} and {b}",
    "A text about {a} and {b}",
)
PHRASINGS = tuple(phrase.format(a="", b="") for phrase in ONE + TWO)
_FUNCTION_WORDS = """
about above after again against all almost also although always among and another any anyone anything are
aren't around asked away back became because become been before began being below better between both but
came can can't cannot could couldn't did didn't does doesn't doing don't done down during each either else
enough even ever every everyone everything few first for found from gave get gets getting give given goes
going gone good got great had hadn't has hasn't have haven't having her here hers herself him himself his how
however i'd i'll i'm i've into isn't it's its itself just knew know last least left less let let's like
little long look looked lot made make makes making many may maybe might more most much must myself never new
next nor not nothing now off often old once one only onto other others our ours out over own people perhaps
put quite rather really said same saw say says see seem seemed seems seen several shall she she's should
shouldn't since some someone something soon still such take taken than that that's the their theirs them
themselves then there there's these they they're thing things think this those though thought three through
time too took toward towards two under until upon use used very want wanted was wasn't way well went were
weren't what when where whether which while who whole whom whose why will with within without won't would
wouldn't year years yes yet you you're your yours yourself
"""
STOPWORDS = frozenset(_FUNCTION_WORDS.split())


class Statistics:
    """Gathers in how many documents each word occurs, over a sample of the corpus."""

    def __init__(self) -> None:
        self.documents = 0
        self.counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count one document; of a long one, each piece of ``PIECE`` characters counts as a document."""
        for first in range(0, len(text), PIECE):
            self.documents += 1
            words = WORD.findall(text, first, first + PIECE)
            self.counts.update({w.lower().replace("\u2019", "'") for w in words})
        if len(self.counts) > 20 * KEPT:  # bounds the memory; words this rare would be dropped in the end
            self.counts = Counter(dict(self.counts.most_common(10 * KEPT)))

    def deriver(self) -> Deriver:
        """The finished counts."""
        common = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:KEPT]
        return Deriver(self.documents, {word: count for word, count in common if count > 1})


@dataclass(frozen=True)
class Deriver:
    """Derives prompts with the word counts of one corpus."""

    documents: int
    counts: dict[str, int]

    def derive(self, text: str) -> str:
        """A prompt for ``text``, never empty."""
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
        if not text.strip():  # a window of one long text may be blank
            return "Write a text"
        words = self.salient(text, 2)
        if not words or digest[0] < 256 // 7:
            return self._beginning(text, 3 + digest[1] % 6)
        if len(words) == 1 or digest[2] < 96:
            return ONE[digest[3] % len(ONE)].format(a=words[0])
        a, b = words[:2] if digest[4] & 1 else words[1::-1]
        return TWO[digest[3] % len(TWO)].format(a=a, b=b)

    def salient(self, text: str, limit: int) -> list[str]:
        """The ``limit`` words with the highest tf-idf, as the text writes them, most salient first."""
        written: dict[str, str] = {}
        frequency: dict[str, int] = {}
        for form, n in Counter(WORD.findall(text)).items():
            word = form.lower().replace("\u2019", "'")
            if word in STOPWORDS:
                continue
            frequency[word] = frequency.get(word, 0) + n
            if (
                word not in written or form == word
            ):  # lower case where the text has it: no sentence beginnings
                written[word] = form
        least = max(2, self.documents // 500)
        scores = {
            word: (1 + math.log(n)) * math.log((1 + self.documents) / self.counts[word])
            for word, n in frequency.items()
            if self.counts.get(word, 0) >= least
        }
        if not scores:  # nothing that the corpus shares: its longest words still say more than none
            scores = {word: len(word) * n for word, n in frequency.items()}
        best = sorted(scores, key=lambda word: (-scores[word], word))[:limit]
        return [written[word] for word in best]

    @staticmethod
    def _beginning(text: str, words: int) -> str:
        return " ".join(text.split()[:words])[:200]
