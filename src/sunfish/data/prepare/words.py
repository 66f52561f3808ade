"""Owns what a word of a text is, in any script: by Unicode's letters and marks, or learned where no spaces divide."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

import regex
from tokenizers import Tokenizer, models, trainers

from sunfish.tokenizers.native import NativeError, guarded, interruptible

# The scripts that put no space between words. Katakana is not among them: it writes single words.
KANA_MARKS = r"\u3099\u309a"  # of decomposed kana; Unicode counts them to no one script
SPACELESS = (
    r"\p{Han}\p{Hiragana}\p{Bopomofo}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    r"\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}\p{Tai_Viet}"
)
KATAKANA = rf"\p{{Katakana}}{KANA_MARKS}\u30fc\uff70"  # the length marks belong to no one script
# Alphabets need three letters for a word that says something; a letter of other scripts is a syllable.
_ALPHABETS = r"\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}\p{Georgian}\p{Arabic}\p{Hebrew}"
_OTHERS = rf"{SPACELESS}{KATAKANA}"  # that have rules of their own
# Joiners and the soft hyphen are part of a word but do not end it.
_TAIL = rf"[[\p{{L}}\p{{M}}\p{{N}}\u200c\u200d\u00ad]--[{_OTHERS}]]"
_END = r"(?<![\u200c\u200d\u00ad])"
_WORD = regex.compile(
    rf"(?:[[{_ALPHABETS}]&&\p{{L}}]{_TAIL}{{2,}}|[\p{{L}}--[{_OTHERS}{_ALPHABETS}]]{_TAIL}+){_END}"
    rf"(?:['\u2019\u00b7\u05f3\u05f4]{_TAIL}+{_END})*|[{KATAKANA}]{{2,}}",
    regex.V1,
)
_ASCII_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{2,}(?:'[A-Za-z0-9]+)*")  # those of _WORD; three times as fast
MAX_RUN_LETTERS = 2_000  # dividing a run into its words is one call, which Ctrl-C cannot end
RUN = regex.compile(  # of words without spaces
    rf"[[{SPACELESS}]&&\p{{L}}][[{SPACELESS}{KANA_MARKS}]&&[\p{{L}}\p{{M}}]]{{0,{MAX_RUN_LETTERS - 1}}}(?!\p{{M}})",
    regex.V1,
)
GRAPHEME = regex.compile(r"\X")
_ALPHABET = regex.compile(rf"[{_ALPHABETS}]")
_LETTER = regex.compile(r"\p{L}")
# Vowel points of Hebrew and Arabic, and the stretching of a line: the same word is written without them.
_POINTS = regex.compile(
    r"[\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]"
)
_IDEOGRAPH = regex.compile(r"\p{Han}")

MAX_WORD_CHARACTERS = 64  # longer ones are no words: DNA, base64
MAX_LEARNED_CHARACTERS = 100_000  # of runs without spaces; learning takes seconds
MAX_LEARNED_WORDS = 8_000
MAX_LEARNED_WORD_CHARACTERS = 12
BOUNDARY_CONTEXT = 64  # characters around a place that decide whether a grapheme ends there


def spaced_words(text: str) -> list[str]:
    """The words of a text outside its runs without spaces, as it writes them; :func:`word_key` may refuse some."""
    return _ASCII_WORD.findall(text) if text.isascii() else _WORD.findall(text)


@lru_cache(maxsize=200_000)
def word_key(spelling: str) -> str:
    """What all spellings of a word have in common: lower case, composed, without vowel points; "" for no word."""
    if len(spelling) > MAX_WORD_CHARACTERS:
        return ""
    key = spelling.lower().replace("\u2019", "'")
    if key.isascii():
        return key if len(key) > 2 else ""
    key = _POINTS.sub("", unicodedata.normalize("NFC", key))
    return key if len(_LETTER.findall(key)) >= (3 if _ALPHABET.match(key) else 2) else ""


def word_keys(spellings: list[str]) -> list[str]:
    """:func:`word_key` of each word of a text."""
    joined = "\n".join(spellings)
    if (
        joined.isascii() and max(map(len, spellings), default=0) <= MAX_WORD_CHARACTERS
    ):  # as most texts: at once
        return joined.lower().split("\n") if spellings else []
    return [word_key(spelling) for spelling in spellings]


def is_boundary(text: str, place: int) -> bool:
    """Whether ``place`` divides no letter from its marks, and no emoji sequence."""
    if text[max(0, place - 1) : place + 1].isascii():
        return text[place - 1 : place + 1] != "\r\n"
    first = max(0, place - BOUNDARY_CONTEXT)
    near = text[first : place + BOUNDARY_CONTEXT]
    return place == 0 or any(match.end() == place - first for match in GRAPHEME.finditer(near))


def cut_graphemes(text: str, limit: int) -> str:
    """The beginning of ``text`` with at most ``limit`` characters and, where they fit, whole graphemes."""
    end = 0
    for match in GRAPHEME.finditer(text[: limit + BOUNDARY_CONTEXT]):
        if match.end() > limit:
            break
        end = match.end()
    return text[: end or limit]


class RunSplitter:
    """Divides runs without spaces into words that it learned from the corpus, without a dictionary.

    A unigram language model of pieces, fitted by expectation maximization (Kudo 2018, "Subword Regularization"):
    what often stands together in different company is one piece. Pieces may be short phrases.
    """

    def __init__(self, runs: Iterable[str]) -> None:
        """Learn from the first ``MAX_LEARNED_CHARACTERS`` of ``runs``."""
        self._engine = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=MAX_LEARNED_WORDS,
            max_piece_length=MAX_LEARNED_WORD_CHARACTERS,
            unk_token="",
            special_tokens=[""],
            show_progress=False,
        )
        sample = list(_first(runs, MAX_LEARNED_CHARACTERS))
        try:
            guarded(lambda: interruptible(lambda: self._engine.train_from_iterator(sample, trainer=trainer)))
        except NativeError:  # too few runs to learn a piece from
            self._engine = Tokenizer(models.Unigram([("", 0.0)], unk_id=0))

    def words(self, run: str) -> list[str]:
        """The learned words of a run; each begins and ends where a grapheme does."""
        ends = {0, *(match.end() for match in GRAPHEME.finditer(run))}
        encoding = self._engine.encode(run)
        pieces = zip(encoding.ids, encoding.offsets, strict=True)
        return [
            run[first:last]
            for piece, (first, last) in pieces
            if piece and first in ends and last in ends and _says_something(run[first:last])
        ]


def _says_something(piece: str) -> bool:
    return len(GRAPHEME.findall(piece)) > 1 or _IDEOGRAPH.match(piece) is not None


def _first(runs: Iterable[str], limit: int) -> Iterator[str]:
    for run in runs:
        if limit <= 0:
            return
        yield run[:limit]
        limit -= len(run)
