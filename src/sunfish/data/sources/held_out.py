"""Owns how records become a corpus: chunks of documents, and the ones held out by a hash of their text."""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from sunfish.data.report import PreparationReport
from sunfish.data.sources.base import Chunk, LocatedExample, Source, check_split
from sunfish.data.text_hash import text_hash

if TYPE_CHECKING:
    from sunfish.data.sources.files.fields import RecordFields

SMALL_CORPUS_DOCUMENTS = 1_000  # smaller corpora hold out an exact number of documents
CHUNK_CHARACTERS = 1_000_000  # a chunk with so many is full
NAME_BYTES = 100  # of the name, to which a prepared folder adds its own


class HeldOutSource(Source):
    """Documents of records, some of which are held out for validation by a hash of their text.

    Equal texts are never on both sides. A small corpus holds out exactly ``validation_fraction`` of its documents, at
    least one.
    """

    def __init__(self, name: str, fields: RecordFields, validation_fraction: float) -> None:
        """Nothing is read yet.

        Args:
            name: Of the corpus; letters that a folder cannot have become ``-``.
            fields: Which fields of a record are its text and its prompt.
            validation_fraction: Share of the documents held out for validation.
        """
        safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
        self.name = safe.encode()[:NAME_BYTES].decode(errors="ignore")
        self.fields = fields
        self.validation_fraction = validation_fraction
        self._report = PreparationReport()
        self._threshold: int | None = None

    @abstractmethod
    def _read(self, split: str, threshold: int) -> Iterator[LocatedExample]:
        """The usable documents of a split; those with a hash below ``threshold`` are validation."""
        ...

    @abstractmethod
    def _too_few(self, count: int) -> str:
        """What is wrong with a corpus that has one document, ``count`` times."""
        ...

    def settings(self) -> dict[str, Any]:
        """The settings that decide what is read from records, for the fingerprint."""
        return {
            "text_field": self.fields.text_field,
            "prompt_field": self.fields.prompt_field,
            "prompt_template": self.fields.prompt_template,
            "validation_fraction": self.validation_fraction,
        }

    def chunks(self, split: str, size: int) -> Iterator[Chunk]:
        """See :meth:`Source.chunks`; the records are read here, a chunk carries its documents."""
        documents: list[LocatedExample] = []
        characters = 0
        for document in self.documents(split):
            documents.append(document)
            characters += len(document.example.text)
            if len(documents) == size or characters >= CHUNK_CHARACTERS:
                yield partial(list, documents)
                documents, characters = [], 0
        if documents:
            yield partial(list, documents)

    def documents(self, split: str) -> Iterator[LocatedExample]:
        """The documents of a split with their locations.

        Args:
            split: ``train`` or ``validation``.

        Raises:
            UsageError: No record has the fields that the user named.
            ValueError: The split does not exist, or there are too few usable documents.
        """
        check_split(split)
        if self._threshold is None:
            self._threshold = self._find_threshold()
        return self._read(split, self._threshold)

    def report(self) -> PreparationReport:
        """See :meth:`Source.report`."""
        return self._report

    def _find_threshold(self) -> int:
        """The number below which the hashes of held-out documents lie."""
        hashes: set[int] = set()
        count = 0
        for count, document in enumerate(self._read("train", threshold=0), 1):
            hashes.add(text_hash(document.example.text))
            if count >= SMALL_CORPUS_DOCUMENTS:
                return int(self.validation_fraction * 2**64)
        if len(hashes) < 2:
            raise ValueError(self._too_few(count))
        held_out = min(max(1, round(self.validation_fraction * len(hashes))), len(hashes) - 1)
        return heapq.nsmallest(held_out, hashes)[-1] + 1


def is_held_out(document: LocatedExample, threshold: int) -> bool:
    """Whether a document is validation; every text has a hash of 0 or more."""
    return text_hash(document.example.text) < threshold
