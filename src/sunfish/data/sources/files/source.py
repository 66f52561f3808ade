"""Owns a corpus of files: which files it has, and which of their documents are held out."""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sunfish.data.report import PreparationReport
from sunfish.data.sources.base import Chunk, ContinuedExample, LocatedExample, Source, check_split
from sunfish.data.sources.files.fields import FieldCounts, RecordFields
from sunfish.data.sources.files.plain_text import (
    count_characters,
    parse_delimiter,
    read_delimited,
    read_long_text,
    read_paragraphs,
)
from sunfish.data.sources.files.readers import RECORD_READERS
from sunfish.data.sources.files.records import NO_UTF8, Record
from sunfish.data.sources.files.walk import find_files, why_not_read
from sunfish.data.text_hash import text_hash
from sunfish.text_files import remedy
from sunfish.types import Example
from sunfish.utils import UsageError

SUFFIXES = (".txt", *RECORD_READERS)
SMALL_CORPUS_DOCUMENTS = 1_000  # smaller corpora hold out an exact number of documents
CHUNK_CHARACTERS = 1_000_000  # a chunk with so many is full
NAME_BYTES = 100  # of the name, to which a prepared folder adds its own
READING_RULES = 2  # raised when the same files give other documents than before


class FileSource(Source):
    """Documents of files, in the order of their names and lines.

    A document is held out for validation by a hash of its text, so equal texts are never on both sides. A
    small corpus holds out exactly ``validation_fraction`` of its documents, at least one. With
    ``delimiter='none'`` a .txt file is one long text whose first part is training and whose rest is
    validation. White space around a text is dropped, except in one long text. A prompt is empty where the
    files give none: preparation then derives one.
    """

    def __init__(
        self,
        path: str | Path,
        text_field: str = "text",
        prompt_field: str = "",
        prompt_template: str = "",
        delimiter: str = "",
        validation_fraction: float = 0.05,
    ) -> None:
        r"""Find the files.

        Args:
            path: A file, or a folder whose files are read, hidden ones aside.
            text_field: Field of the text in .jsonl, .csv, .tsv and .parquet records.
            prompt_field: Field of the prompt; empty: none.
            prompt_template: A prompt with fields of the record in braces; empty: none.
            delimiter: What divides the documents of a .txt file; ``\n`` and ``\t`` may be spelled out. Empty:
                a blank line; ``none``: one long text.
            validation_fraction: Share of the documents held out for validation.

        Raises:
            UsageError: There is no file that can be read, or fields are named for files that have none.
        """
        self.path = _absolute(Path(os.path.expanduser(path)))
        self.name = _folder_name(self.path.stem)
        self.fields = RecordFields(text_field, prompt_field, prompt_template)
        self.delimiter = parse_delimiter(delimiter)
        self.validation_fraction = validation_fraction
        self.long_text = delimiter == "none"
        self.files, self.unread = find_files(self.path, SUFFIXES)
        self._report = PreparationReport()
        self._threshold: int | None = None
        if self.fields.prompt_fields and not any(f.suffix.lower() in RECORD_READERS for f in self.files):
            raise UsageError(
                f"{self.fields.prompt_setting}, but {self.path} has plain text, which has no fields; "
                "leave it out"
            )
        self._has_txt = any(file.suffix.lower() == ".txt" for file in self.files)
        if delimiter and not self._has_txt:
            raise UsageError(
                f"delimiter is {delimiter!r}, but {self.path} has no .txt, and --delimiter is for .txt; "
                "leave it out"
            )

    def fingerprint(self) -> dict[str, Any]:
        """The files with their sizes and times, and the settings that decide what is read from them."""
        stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in self.files]
        return {
            "source": str(self.path),
            "files": hashlib.sha256(repr(stats).encode()).hexdigest(),
            "text_field": self.fields.text_field,
            "prompt_field": self.fields.prompt_field,
            "prompt_template": self.fields.prompt_template,
            "delimiter": self.delimiter,
            "validation_fraction": self.validation_fraction,
            "rules": READING_RULES,
        }

    def chunks(self, split: str, size: int) -> Iterator[Chunk]:
        """See :meth:`Source.chunks`; the files are read here, a chunk carries its documents."""
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
        """The documents of a split, located by ``file:line``.

        Args:
            split: ``train`` or ``validation``.

        Raises:
            UsageError: No record has the fields that the user named.
            ValueError: The split does not exist, or the files hold too few usable documents.
        """
        check_split(split)
        if self._threshold is None:
            # One long text is divided by characters, and the records beside it are all for training.
            self._threshold = 0 if self.long_text else self._find_threshold()
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
            ways = ", or say --delimiter none for one long text, or --delimiter '\\n' for one document a line"
            raise ValueError(
                f"{self.path} has only one document{f' ({count} times)' if count > 1 else ''}, so none can be held "
                f"out for validation; give more{ways if self._has_txt else ''}"
            )
        held_out = min(max(1, round(self.validation_fraction * len(hashes))), len(hashes) - 1)
        return heapq.nsmallest(held_out, hashes)[-1] + 1

    def _read(self, split: str, threshold: int) -> Iterator[LocatedExample]:
        """The usable documents of a split; those with a hash below ``threshold`` are validation."""
        self._report = report = PreparationReport()
        for reason, path in self.unread:
            report.skips.add(reason, self._location(path))
        counts = FieldCounts(self.fields)
        usable = 0
        for file in self.files:
            if fault := why_not_read(file):
                report.skips.add(fault, self._location(file))
            elif self.long_text and file.suffix.lower() == ".txt":
                for part in self._read_long_text(file, split):
                    usable += 1
                    yield part
            else:
                for document in self._read_documents(file, counts, report):
                    usable += 1
                    if (text_hash(document.example.text) < threshold) == (split == "validation"):
                        yield document
        counts.check(self.path)
        if not usable:
            reasons = "; ".join(report.skips.lines()) or "it is empty"
            if NO_UTF8 in report.skips.counts:
                reasons += f"; {remedy('UTF-8')}"
            raise ValueError(f"{self.path} has no usable document: {reasons}")

    def _read_documents(
        self, file: Path, counts: FieldCounts, report: PreparationReport
    ) -> Iterator[LocatedExample]:
        for line, record in self._read_records(file):
            counts.add(record)
            location = self._location(file, line)
            example = self.fields.example(record, location, report)
            if example is not None:
                yield LocatedExample(location, example)

    def _read_records(self, file: Path) -> Iterator[tuple[int, Record]]:
        suffix = file.suffix.lower()
        if suffix == ".txt":
            return read_delimited(file, self.delimiter) if self.delimiter else read_paragraphs(file)
        return RECORD_READERS[suffix](file)

    def _read_long_text(self, file: Path, split: str) -> Iterator[LocatedExample]:
        """The parts of one long text; each but the last says that the text continues."""
        total = count_characters(file)
        cut = int(total * (1 - self.validation_fraction))
        first, last = (0, cut) if split == "train" else (cut, total)
        previous: tuple[int, str] | None = None
        for line, text in read_long_text(file, first, last):
            if text.strip():
                if previous:
                    yield LocatedExample(self._location(file, previous[0]), ContinuedExample("", previous[1]))
                previous = line, text
        if previous:
            yield LocatedExample(self._location(file, previous[0]), Example("", previous[1]))

    def _location(self, file: Path, line: int | None = None) -> str:
        """``file:line``, on one line and printable whatever the file is called."""
        name = file.name if file == self.path else str(file.relative_to(self.path))
        name = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
        return name if line is None else f"{name}:{line}"


def _absolute(path: Path) -> Path:
    """The absolute path; a link at its end is not followed, since the name that was given counts."""
    return path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name


def _folder_name(stem: str) -> str:
    """The name of a source: ``stem`` in letters, digits, ``-`` and ``_``, of ``NAME_BYTES`` at most."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in stem)
    return name.encode()[:NAME_BYTES].decode(errors="ignore")
