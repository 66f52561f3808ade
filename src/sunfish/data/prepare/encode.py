"""Turns texts into rows of ids: the end marks, the windows of long documents, the prompt of each row.

A document of tokens w_1 … w_n is the row ``[end] w_1 … w_n [end]``: position 0 is a known start mark. A
document that does not fit is cut into consecutive windows ``[end] w_i … w_j`` of at most ``context_length``
positions, each with the document's prompt; only the last window ends with ``[end]``, since only there the
text ends.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from tokenizers import Encoding

from sunfish.data.prepare.derived_prompts import Deriver
from sunfish.data.prepare.report import SkipReport
from sunfish.tokenizers import TextTokenizer
from sunfish.types import Example

Located = tuple[str, Example]  # where an example stands (``file:line``), and the example
Job = Callable[[], list[Located]]


@dataclass
class Rows:
    """The rows of one chunk of documents, ready to be appended to the files of a split."""

    tokens: array[int] = field(default_factory=partial(array, "I"))
    lengths: array[int] = field(default_factory=partial(array, "q"))
    prompts: array[int] = field(default_factory=partial(array, "I"))
    prompt_lengths: array[int] = field(default_factory=partial(array, "q"))
    bytes: array[int] = field(default_factory=partial(array, "i"))
    hashes: array[int] = field(
        default_factory=partial(array, "Q")
    )  # one of each document, to count distinct ones
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("documents", "cut_documents", "windows", "derived_prompts", "truncated_prompts"), 0
        )
    )
    skips: SkipReport = field(default_factory=SkipReport)
    notes: SkipReport = field(default_factory=SkipReport)


def windows(ids: list[int], context_length: int) -> list[tuple[int, int]]:
    """The half-open ranges of ``ids`` that share a document: one if it fits with both marks, else several."""
    size = context_length - 1  # the start mark takes one position
    if len(ids) + 1 <= size:
        return [(0, len(ids))]
    cuts = [*range(0, len(ids), size), len(ids)]
    if cuts[-1] - cuts[-2] == size:  # the last window has no room for the end mark: give it two windows
        cuts.insert(-1, len(ids) - 1)
    return list(pairwise(cuts))


@dataclass(frozen=True)
class RowMaker:
    """Makes rows with one tokenizer and one deriver; called in the worker processes."""

    tokenizer: TextTokenizer
    deriver: Deriver
    context_length: int
    prompt_length: int
    prompt_tokenizer: TextTokenizer | None = None  # None: the text's own
    prompt_each_window: bool = False  # one long text: a window's prompt is derived from that window

    def __call__(self, job: Job) -> Rows:
        """The rows of the documents that ``job`` returns, in their order."""
        rows = Rows()
        located = job()
        encoded: list[Encoding | None]
        try:
            encoded = list(self.tokenizer.encodings([e.text for _, e in located]))
        except ValueError:
            encoded = [None] * len(located)  # one of them cannot be encoded: find out which, one by one
        for (place, example), encoding in zip(located, encoded, strict=True):
            try:
                encoding = encoding or self.tokenizer.encodings([example.text])[0]
                self._document(rows, example, encoding)
                if self.tokenizer.unknown is not None and self.tokenizer.unknown in encoding.ids:
                    rows.notes.add(
                        "text with characters that the vocabulary replaces by its unknown token", place
                    )
            except ValueError as error:
                rows.skips.add(f"not encodable: {str(error).split(' at position ')[0]}", place)
        return rows

    def _document(self, rows: Rows, example: Example, encoding: Encoding) -> None:
        ids = encoding.ids
        end = self.tokenizer.end
        if not ids:
            raise ValueError("the text has no tokens")
        ranges = windows(ids, self.context_length)
        pieces = [example.text]
        if len(ranges) > 1:
            # A window's text reaches to where the next one's first token begins, so bytes add up exactly.
            starts = (_start(encoding, first) for first, _ in ranges[1:])
            cuts = [0, *starts, len(example.text)]
            pieces = [example.text[a:b] for a, b in pairwise(cuts)]
        each = self.prompt_each_window and not example.prompt
        prompts = [self._prompt(rows, piece, "") for piece in pieces] if each else []
        if not each:
            prompts = [self._prompt(rows, example.text, example.prompt)] * len(pieces)
        for (first, last), piece, prompt in zip(ranges, pieces, prompts, strict=True):
            row = [end, *ids[first:last]]
            if last == len(ids):
                row.append(end)
            rows.tokens.extend(row)
            rows.lengths.append(len(row))
            rows.bytes.append(len(piece.encode("utf-8")))
            rows.prompts.extend(prompt)
            rows.prompt_lengths.append(len(prompt))
        rows.counts["documents"] += 1
        rows.hashes.append(text_hash(example.text))
        if len(ranges) > 1:
            rows.counts["cut_documents"] += 1
            rows.counts["windows"] += len(ranges)

    def _prompt(self, rows: Rows, text: str, prompt: str) -> list[int]:
        if not self.prompt_length:
            rows.counts["truncated_prompts"] += bool(prompt)
            return []
        if not prompt:
            rows.counts["derived_prompts"] += 1
            try:
                ids = (self.prompt_tokenizer or self.tokenizer).encode(self.deriver.derive(text))
            except ValueError:  # an alphabet without the letters of the phrasing; it has those of the text
                ids = (self.prompt_tokenizer or self.tokenizer).encode((text.split() or [text])[0]) or [
                    (self.prompt_tokenizer or self.tokenizer).end
                ]
        else:
            ids = (self.prompt_tokenizer or self.tokenizer).encode(prompt)
        if len(ids) > self.prompt_length:
            rows.counts["truncated_prompts"] += 1
        return ids[: self.prompt_length]


def _start(encoding: Encoding, token: int) -> int:
    """The index of the first character that ``token`` covers."""
    span = encoding.token_to_chars(token)
    if span is None:
        raise ValueError(f"token {token} of the text covers no character, so the text cannot be cut there")
    return span[0]


def text_hash(text: str) -> int:
    """A 64-bit hash of a text that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")
