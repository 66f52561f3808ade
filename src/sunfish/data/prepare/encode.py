"""Encodes documents into rows of ids: the end marks, the windows of long documents, the prompt of each row.

A document of tokens w_1 … w_n is the row ``[end] w_1 … w_n [end]``: position 0 is a known start mark. A
document that does not fit is cut into consecutive windows of at most ``context_length`` positions, each with
the document's prompt: ``[end] w_1 … w_i``, then ``w_i w_i+1 … w_j``, whose position 0 is the token before. So
only a beginning follows the start mark, as in sampling, and only the last window ends with ``[end]``. A long
text has one beginning, which would teach nothing: all its windows begin with ``[end]``. A part of it that the
next document continues has no end.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from tokenizers import Encoding

from sunfish.data.prepare.derived_prompts import PromptDeriver
from sunfish.data.prepare.words import is_boundary
from sunfish.data.report import PreparationReport
from sunfish.data.sources.base import Chunk, ContinuedExample, LocatedExample
from sunfish.data.text_hash import text_hash
from sunfish.tokenizers import TextTokenizer
from sunfish.types import Example

COUNTS = ("documents", "cut_documents", "windows", "derived_prompts", "truncated_prompts")
BYTES_PER_TOKEN = 3  # a text with more bytes for each position of a row is cut, most likely
UNKNOWN_TOKEN_NOTE = "text with characters that the vocabulary replaces by its unknown token"


@dataclass
class EncodedRows:
    """The rows of one chunk of documents, ready to be appended to the files of a split.

    Attributes:
        tokens: The ids of all rows, one after the other.
        lengths: Positions of each row.
        prompts: The ids of all prompts.
        prompt_lengths: Ids of each prompt.
        bytes: UTF-8 bytes of the text of each row.
        hashes: One number for each document, to count the distinct ones.
        counts: What ``COUNTS`` names.
        report: What was left out or changed.
    """

    tokens: array[int] = field(default_factory=partial(array, "I"))
    lengths: array[int] = field(default_factory=partial(array, "q"))
    prompts: array[int] = field(default_factory=partial(array, "I"))
    prompt_lengths: array[int] = field(default_factory=partial(array, "q"))
    bytes: array[int] = field(default_factory=partial(array, "i"))
    hashes: array[int] = field(default_factory=partial(array, "Q"))
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    report: PreparationReport = field(default_factory=PreparationReport)

    def append(self, ids: list[int], text: str, prompt: list[int]) -> None:
        """Add one row.

        Args:
            ids: The row with its marks.
            text: The stretch of text that the row holds.
            prompt: The ids of the prompt.
        """
        self.tokens.extend(ids)
        self.lengths.append(len(ids))
        self.bytes.append(len(text.encode("utf-8")))
        self.prompts.extend(prompt)
        self.prompt_lengths.append(len(prompt))

    def merge(self, other: EncodedRows) -> None:
        """Add the rows of the chunk that follows."""
        for name in ("tokens", "lengths", "prompts", "prompt_lengths", "bytes", "hashes"):
            getattr(self, name).extend(getattr(other, name))
        for name, count in other.counts.items():
            self.counts[name] += count
        self.report.merge(other.report)


def context_windows(
    num_tokens: int,
    context_length: int,
    last_cut: Callable[[int, int], int] = lambda first, last: last,
    ends: bool = True,
) -> list[tuple[int, int]]:
    """How a document is cut into rows.

    Args:
        num_tokens: Tokens of the document, without marks.
        context_length: Positions of a row at most, marks included.
        last_cut: Where to cut in ``first + 1 .. last``; at ``last`` where the text does not matter.
        ends: Whether the last row has an end mark.

    Returns:
        Half-open ranges of the document's tokens: one if it fits with its two marks, else several.
    """
    size = context_length - 1  # the start mark takes one position
    if num_tokens + ends <= size:
        return [(0, num_tokens)]
    cuts = [0]
    while num_tokens - cuts[-1] + ends > size:
        cuts.append(last_cut(cuts[-1], min(cuts[-1] + size, num_tokens - ends)))
    cuts.append(num_tokens)
    return list(pairwise(cuts))


@dataclass(frozen=True)
class DocumentEncoder:
    """Encodes the documents of a chunk into rows; called in the worker processes.

    Attributes:
        tokenizer: Of texts.
        prompt_tokenizer: Of prompts; often the same.
        deriver: Derives the prompts that are not given.
        context_length: Positions of a row at most.
        prompt_length: Ids of a prompt at most; 0: no prompts.
        is_long_text: Whether the documents are parts of one long text: then each window derives a prompt of its own
            and begins with the start mark.
    """

    tokenizer: TextTokenizer
    prompt_tokenizer: TextTokenizer
    deriver: PromptDeriver
    context_length: int
    prompt_length: int
    is_long_text: bool = False

    def __call__(self, chunk: Chunk) -> EncodedRows:
        """The rows of the documents that ``chunk`` returns, in their order."""
        rows = EncodedRows()
        documents = chunk()
        for (location, example), encoding in zip(documents, self._encodings(documents), strict=True):
            try:
                encoding = encoding or self.tokenizer.encodings([example.text])[0]
                self._append_document(rows, example, encoding)
                if self.tokenizer.unknown is not None and self.tokenizer.unknown in encoding.ids:
                    rows.report.notes.add(UNKNOWN_TOKEN_NOTE, location)
            except ValueError as error:
                reason = f"not encodable: {str(error).split(' at position ')[0]}"
                rows.report.skips.add(reason, location)
        return rows

    def _encodings(self, documents: list[LocatedExample]) -> Sequence[Encoding | None]:
        """The texts' encodings: with offsets, which a cut needs, or of a text that fits in a row.

        None for a text that needs offsets although it is short; all None if one text cannot be encoded, so that each
        is tried alone.
        """
        texts = [example.text for _, example in documents]
        is_long = [len(text.encode()) > BYTES_PER_TOKEN * self.context_length for text in texts]
        long = [text for text, cut in zip(texts, is_long, strict=True) if cut]
        short = [text for text, cut in zip(texts, is_long, strict=True) if not cut]
        try:
            of_long = iter(self.tokenizer.encodings(long))
            of_short = iter(self.tokenizer.encodings(short, offsets=False))
        except ValueError:
            return [None] * len(documents)
        most = self.context_length - 2  # ids of a text that fits with its two marks
        encodings = [next(of_long if cut else of_short) for cut in is_long]
        return [
            encoding if cut or len(encoding.ids) <= most else None
            for cut, encoding in zip(is_long, encodings, strict=True)
        ]

    def _append_document(self, rows: EncodedRows, example: Example, encoding: Encoding) -> None:
        ids, end = encoding.ids, self.tokenizer.end
        if not ids:
            raise ValueError("the text has no tokens")
        last_cut = partial(_last_cut, example.text, encoding)
        ends = not isinstance(example, ContinuedExample)
        windows = context_windows(len(ids), self.context_length, last_cut, ends)
        texts = _window_texts(example.text, encoding, windows)
        if self.is_long_text and not example.prompt:
            prompts = [self._prompt(rows, text, "") for text in texts]
        else:
            prompts = [self._prompt(rows, example.text, example.prompt)] * len(texts)
        for (first, last), text, prompt in zip(windows, texts, prompts, strict=True):
            start = end if self.is_long_text or not first else ids[first - 1]
            marks = [end] if ends and last == len(ids) else []
            rows.append([start, *ids[first:last], *marks], text, prompt)
        if ends:  # a text in parts is one document
            rows.counts["documents"] += 1
            rows.hashes.append(text_hash(example.text))
        if len(windows) > 1 or not ends:
            rows.counts["cut_documents"] += ends
            rows.counts["windows"] += len(windows)

    def _prompt(self, rows: EncodedRows, text: str, prompt: str) -> list[int]:
        """The ids of ``prompt``, or of one derived from ``text`` where it is empty; counted in ``rows``."""
        if not self.prompt_length:
            rows.counts["truncated_prompts"] += bool(prompt)
            return []
        if not prompt:
            rows.counts["derived_prompts"] += 1
            prompt, encoding = self._derived_prompt(text)
        else:
            encoding = self.prompt_tokenizer.encodings([prompt])[0]
        if len(encoding.ids) <= self.prompt_length:
            return encoding.ids
        rows.counts["truncated_prompts"] += 1
        return encoding.ids[: _last_cut(prompt, encoding, 0, self.prompt_length)]

    def _derived_prompt(self, text: str) -> tuple[str, Encoding]:
        """The first derived prompt that fits, else the shortest."""
        first_word = (text.split() or [text])[0]
        # The second choice is for an alphabet without the letters of the phrasings; it has those of the text.
        for prompts in (self.deriver.derivations(text), (first_word, text)):
            too_long = []
            for prompt, encoding in self._writable(prompts):
                if len(encoding.ids) <= self.prompt_length:
                    return prompt, encoding
                too_long.append((prompt, encoding))
            if too_long:
                return min(too_long, key=lambda item: len(item[1].ids))
        raise ValueError("the vocabulary of prompts can write none that is derived from the text")

    def _writable(self, prompts: Iterable[str]) -> Iterator[tuple[str, Encoding]]:
        for prompt in prompts:
            try:
                encoding = self.prompt_tokenizer.encodings([prompt])[0]
            except ValueError:
                continue
            if encoding.ids:
                yield prompt, encoding


def _last_cut(text: str, encoding: Encoding, first: int, last: int) -> int:
    """The last token of the second half of ``first .. last`` before which no letter and no emoji is divided.

    ``last`` where there is none.
    """
    if text.isascii():
        return last
    for token in range(last, (first + last) // 2, -1):
        before, place = encoding.token_to_chars(token - 1), _first_character(encoding, token)
        if before is not None and before[1] <= place and is_boundary(text, place):
            return token
    return last


def _window_texts(text: str, encoding: Encoding, windows: list[tuple[int, int]]) -> list[str]:
    """The text of each window. It reaches to the next window's first token, so bytes add up exactly."""
    starts = (_first_character(encoding, first) for first, _ in windows[1:])
    return [text[first:last] for first, last in pairwise([0, *starts, len(text)])]


def _first_character(encoding: Encoding, token: int) -> int:
    """The index of the first character that ``token`` covers."""
    span = encoding.token_to_chars(token)
    if span is None:
        raise ValueError(f"token {token} of the text covers no character, so the text cannot be cut there")
    return int(span[0])
