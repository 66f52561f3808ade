"""Derives a prompt from a text that has none, so that no text is trained on without one.

A derived prompt names the one or two most *salient* words of its text in one of the phrasings of the built-in
prompts ("Write about the harbour", "Write a story about X and Y", "Describe X"). For about one text in seven
it is the text's first three to eight words instead, so that a beginning works as a prompt as well. Scripts without
spaces have words that are learned, and a beginning of so many graphemes. A word is
salient if it is frequent in the text but in few documents of the corpus (tf-idf). Function words are left
out, and so are words that too few documents contain for the model to learn what they mean. The choice depends
on the text alone, through its hash, and on the word counts of the corpus: the same corpus gives the same
prompts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from sunfish.data.prepare.words import GRAPHEME, RUN, RunSplitter, cut_graphemes, spaced_words, word_keys
from sunfish.data.text_hash import text_digest

PIECE_CHARACTERS = 4_000  # counted as one document; else one long text would be a corpus of one document
MAX_RUN_CHARACTERS = 2_000_000  # of text without spaces, whose words are counted
MAX_COUNTED_WORDS = 50_000  # with a document count of their own; rarer ones count as unknown
BEGINNING_SHARE = 1 / 7  # of the texts whose prompt is their beginning
MAX_BEGINNING_CHARACTERS = 200

ONE_WORD_PHRASINGS = (
    "Write about {a}",
    "Write a story about {a}",
    "Describe {a}",
    "Tell me about {a}",
    "A text about {a}",
)
TWO_WORD_PHRASINGS = tuple(phrasing.replace("{a}", "{a} and {b}") for phrasing in ONE_WORD_PHRASINGS)
PHRASINGS = tuple(phrasing.format(a="", b="") for phrasing in ONE_WORD_PHRASINGS + TWO_WORD_PHRASINGS)
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


class DocumentFrequencies:
    """Counts in how many documents each word occurs, over a sample of the corpus."""

    def __init__(self) -> None:
        self.documents = 0
        self.counts: Counter[str] = Counter()
        # Runs without spaces, one list a document; their words are known only when all of them were seen.
        self.runs: list[list[str]] = []
        self.documents_with_runs = 0
        self._room = MAX_RUN_CHARACTERS

    def add(self, text: str) -> None:
        """Count one document; of a long one, each piece of ``PIECE_CHARACTERS`` counts as a document."""
        for first in range(0, len(text), PIECE_CHARACTERS):
            self.documents += 1
            piece = text[first : first + PIECE_CHARACTERS]
            self.counts.update({*word_keys(spaced_words(piece))} - {""})
            if runs := [] if piece.isascii() else RUN.findall(piece):
                self.documents_with_runs += 1
                if self._room > 0:
                    self.runs.append(runs)
                    self._room -= sum(map(len, runs))
        # Bounds the memory; words this rare would be dropped in the end.
        if len(self.counts) > 20 * MAX_COUNTED_WORDS:
            self.counts = Counter(dict(self.counts.most_common(10 * MAX_COUNTED_WORDS)))

    def prompt_deriver(self) -> PromptDeriver:
        """The deriver that uses the counts so far."""
        splitter, counts = None, self.counts
        if self.runs:
            splitter = RunSplitter(chain.from_iterable(self.runs))
            learned = Counter(
                word for runs in self.runs for word in {word for run in runs for word in splitter.words(run)}
            )
            share = self.documents_with_runs / len(self.runs)
            counts = counts + Counter({word: round(count * share) for word, count in learned.items()})
        common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_COUNTED_WORDS]
        return PromptDeriver(self.documents, {word: count for word, count in common if count > 1}, splitter)


@dataclass(frozen=True)
class PromptDeriver:
    """Derives prompts with the word counts of one corpus.

    Attributes:
        documents: Number of documents counted.
        counts: Word -> in how many of them it occurs.
        splitter: Finds the words where no spaces divide them; None: the corpus has no such text.
    """

    documents: int
    counts: dict[str, int]
    splitter: RunSplitter | None = None

    def derive(self, text: str) -> str:
        """A prompt for ``text``, never empty."""
        return next(self.derivations(text))

    def derivations(self, text: str) -> Iterator[str]:
        """The prompt for ``text``, then ever shorter ones for where it does not fit; none cuts a word.

        Args:
            text: The text.

        Yields:
            Prompts that are not empty, one at least.
        """
        digest = text_digest(text)
        if not text.strip():  # a window of one long text may be blank
            yield "Write a text"
            return
        words = self.salient_words(text, 2)
        if not words or digest[0] < int(256 * BEGINNING_SHARE):
            for count in range(3 + digest[1] % 6, 0, -1):
                yield _beginning(text, count)
            return
        number = digest[3] % len(ONE_WORD_PHRASINGS)
        if len(words) > 1 and digest[2] >= 96:
            first, second = words if digest[4] & 1 else reversed(words)
            yield TWO_WORD_PHRASINGS[number].format(a=first, b=second)
        for phrasing in (ONE_WORD_PHRASINGS[number], ONE_WORD_PHRASINGS[0]):
            for word in words:
                yield phrasing.format(a=word)

    def salient_words(self, text: str, limit: int) -> list[str]:
        """The words of a text with the highest tf-idf.

        Args:
            text: The text.
            limit: Number of words at most.

        Returns:
            The words as the text writes them, most salient first.
        """
        words = spaced_words(text)
        learned = [] if text.isascii() else list(self._words_without_spaces(text))
        keys = word_keys(words)
        frequencies = Counter(keys + learned)
        weights = self._weights
        # The negative score comes first, so that the best word does; of two with one score, the first by alphabet.
        ranked = [
            (weights[word] * (-1 - math.log(frequencies[word])), word)
            for word in weights.keys() & frequencies.keys()
        ] or [
            # A text that shares no word with the corpus: its longest words still say more than none.
            (-float(len(word) * count), word)
            for word, count in frequencies.items()
            if word and word not in STOPWORDS
        ]
        # Lower case where the text has it: the capital of a sentence's beginning says nothing.
        return [
            word if word in words or word in learned else words[keys.index(word)]
            for _, word in sorted(ranked)[:limit]
        ]

    def _words_without_spaces(self, text: str) -> Iterator[str]:
        if self.splitter is not None:
            for run in RUN.findall(text):
                yield from self.splitter.words(run)

    @cached_property
    def _weights(self) -> dict[str, float]:
        """The inverse document frequency of each word that may be named."""
        min_documents = max(2, self.documents // 500)
        return {
            word: math.log((1 + self.documents) / count)
            for word, count in self.counts.items()
            if count >= min_documents and word not in STOPWORDS
        }


def _beginning(text: str, count: int) -> str:
    """The first words of ``text``, ``count`` at most, or three graphemes for each where no spaces divide words."""
    words = text.split(maxsplit=count)[:count]
    if any(RUN.search(word, 0, MAX_BEGINNING_CHARACTERS) for word in words):
        beginning = text.lstrip()[:MAX_BEGINNING_CHARACTERS]
        return "".join(GRAPHEME.findall(beginning)[: 3 * count]).rstrip()
    while len(words) > 1 and len(" ".join(words)) > MAX_BEGINNING_CHARACTERS:
        words.pop()
    return cut_graphemes(" ".join(words), MAX_BEGINNING_CHARACTERS)
