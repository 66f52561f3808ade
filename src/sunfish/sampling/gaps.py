"""Gaps of a text: how they are written, what stands around them, and what a filled text looks like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sunfish.config.rules import shown
from sunfish.sampling.prompts import MAX_CHARACTERS, check_text, encode_text
from sunfish.tokenizers.base import TextTokenizer
from sunfish.utils import UsageError

GAP = re.compile(r"\[MASK(?::([^\]\n]*))?\]")
LENGTH = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?")
# What was meant as a gap and is none; [MASKS] is a word.
UNFINISHED = re.compile(r"\[MASK(?![\]\w]).{0,20}")
DEFAULT_LENGTHS = range(1, 33)  # tokens of a gap without a number, as far as there is room for them


@dataclass(frozen=True)
class Gaps:
    """The given pieces of a text, and between them the lengths in tokens that each gap may have."""

    pieces: list[str]
    lengths: list[range]


def parse(text: str) -> Gaps:
    """Cut ``text`` at its gaps.

    Raises:
        UsageError: There is no gap, or one with a length that is no length.
    """
    check_text("text", text)
    parts = GAP.split(text)  # piece, length, piece, ..., piece
    lengths = [DEFAULT_LENGTHS if number is None else _span(number) for number in parts[1::2]]
    pieces = parts[0::2]
    for match in filter(None, map(UNFINISHED.search, pieces)):
        raise UsageError(f"the gap {match[0]!r} is incomplete; write [MASK], [MASK:5] or [MASK:2-12]")
    if not lengths:
        raise UsageError(
            f"the text {shown(text)} has no [MASK] to fill; mark each gap with [MASK] or [MASK:5]"
        )
    return Gaps(pieces, lengths)


def _span(number: str) -> range:
    """The lengths of a gap ``[MASK:number]``; the digits of any script count."""
    match = LENGTH.fullmatch(number)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise UsageError(
            f"the gap [MASK:{shown(number, 20)[1:-1]}] has no length; write [MASK], [MASK:5] or [MASK:2-12]"
        )
    return range(low, high + 1)


@dataclass(frozen=True)
class EncodedGaps:
    """Gaps as ids.

    A token carries its leading space, so that the space before a gap belongs to the gap's first token, which must then
    begin with one.
    """

    gaps: Gaps
    pieces: list[list[int]]
    lengths: list[range]  # as far as there is room
    spaced: list[bool]  # whether the gap's first token brings the space before it

    @property
    def has_open_end(self) -> bool:
        """Whether the text ends with a gap of any length."""
        return not self.gaps.pieces[-1] and self.gaps.lengths[-1] is DEFAULT_LENGTHS

    def join_ids(self, fills: Sequence[Sequence[int]]) -> list[int]:
        """The ids of the text with these fills, without end marks."""
        ids = list(self.pieces[0])
        for fill, piece in zip(fills, self.pieces[1:], strict=True):
            ids += [*fill, *piece]
        return ids

    def join(self, fills: Sequence[str]) -> str:
        """The text with these fills. The space that a fill brings is given already."""
        text = self.gaps.pieces[0]
        for fill, spaced, piece in zip(fills, self.spaced, self.gaps.pieces[1:], strict=True):
            text += (fill.removeprefix(" ") if spaced else fill) + piece
        return text


def encode_gaps(tokenizer: TextTokenizer, gaps: Gaps, context_length: int) -> EncodedGaps:
    """Encode what is given.

    Raises:
        UsageError: The vocabulary cannot write a character of it, or it does not fit into the context with its gaps.
    """
    characters = sum(map(len, gaps.pieces))
    if characters > context_length * MAX_CHARACTERS:
        raise UsageError(
            f"the text has {characters:,} characters, but this model has a context of {context_length} tokens; "
            "shorten it"
        )
    carries = bool(tokenizer.spaced_ids)
    spaced = [carries and piece.endswith(" ") for piece in gaps.pieces[:-1]]
    texts = [
        piece[:-1] if space else piece for piece, space in zip(gaps.pieces, [*spaced, False], strict=True)
    ]
    pieces = [encode_text(tokenizer.encode, text, "the text") for text in texts]
    room = context_length - 2 - sum(map(len, pieces))
    least = sum(1 if span is DEFAULT_LENGTHS else span[-1] for span in gaps.lengths)
    if least > room:
        length = context_length - room + least
        raise UsageError(
            f"the text with its gaps has {length} tokens, end marks included, but this model has a context of "
            f"{context_length}; shorten it"
        )
    lengths = []
    for number, span in enumerate(gaps.lengths, start=1):
        if span is DEFAULT_LENGTHS:  # open gaps share what the others leave
            still_open = sum(other is DEFAULT_LENGTHS for other in gaps.lengths[number:]) + 1
            span = range(1, min(span[-1], 1 + (room - least) // still_open) + 1)
            least += span[-1] - 1
        lengths.append(span)
    return EncodedGaps(gaps, pieces, lengths, spaced)
