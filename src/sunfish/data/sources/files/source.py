"""Owns a corpus of files: which files it has, and which of their documents are held out."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sunfish.data.report import PreparationReport
from sunfish.data.sources.base import Chunk, LocatedExample, Source, check_split
from sunfish.data.sources.files.fields import FieldCounts, RecordFields
from sunfish.data.sources.files.plain_text import (
    count_characters,
    read_delimited,
    read_long_text,
    read_paragraphs,
)
from sunfish.data.sources.files.readers import RECORD_READERS
from sunfish.data.sources.files.records import Record
from sunfish.data.text_hash import text_hash
from sunfish.types import Example
from sunfish.utils import UsageError

SUFFIXES = (".txt", *RECORD_READERS)
SMALL_CORPUS_DOCUMENTS = 1_000  # smaller corpora hold out an exact number of documents
CHUNK_CHARACTERS = 1_000_000  # a chunk with so many is full


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
            text_field: Field of the text in .jsonl, .csv and .parquet records.
            prompt_field: Field of the prompt; empty: none.
            prompt_template: A prompt with fields of the record in braces; empty: none.
            delimiter: What divides the documents of a .txt file; ``\n`` and ``\t`` may be spelled out. Empty:
                a blank line; ``none``: one long text.
            validation_fraction: Share of the documents held out for validation.

        Raises:
            UsageError: There is no file that can be read, or fields are named for files that have none.
        """
        self.path = Path(path).expanduser().resolve()
        self.name = "".join(c if c.isalnum() or c in "-_" else "-" for c in self.path.stem)
        self.fields = RecordFields(text_field, prompt_field, prompt_template)
        self.delimiter = delimiter.replace("\\n", "\n").replace("\\t", "\t")
        self.validation_fraction = validation_fraction
        self.long_text = delimiter == "none"
        self.files, self.ignored = _find_files(self.path)
        self._report = PreparationReport()
        self._threshold: int | None = None
        if self.fields.prompt_fields and not any(f.suffix.lower() in RECORD_READERS for f in self.files):
            raise UsageError(
                f"{self.fields.prompt_setting}, but {self.path} has plain text, which has no fields; "
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
        for count, document in enumerate(self._read("train", threshold=0), 1):
            hashes.add(text_hash(document.example.text))
            if count >= SMALL_CORPUS_DOCUMENTS:
                return int(self.validation_fraction * 2**64)
        if len(hashes) < 2:
            raise ValueError(
                f"{self.path} has only one document, so none can be held out for validation; "
                "give more, or say --delimiter none for one long text, "
                "or --delimiter '\\n' for one document a line"
            )
        held_out = min(max(1, round(self.validation_fraction * len(hashes))), len(hashes) - 1)
        return heapq.nsmallest(held_out, hashes)[-1] + 1

    def _read(self, split: str, threshold: int) -> Iterator[LocatedExample]:
        """The usable documents of a split; those with a hash below ``threshold`` are validation."""
        self._report = report = PreparationReport()
        for file in self.ignored:
            report.skips.add(f"file is none of {', '.join(SUFFIXES)}", self._location(file))
        counts = FieldCounts(self.fields)
        usable = 0
        for file in self.files:
            if not file.stat().st_size:
                report.skips.add("file is empty", self._location(file))
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
        total = count_characters(file)
        cut = int(total * (1 - self.validation_fraction))
        first, last = (0, cut) if split == "train" else (cut, total)
        for line, text in read_long_text(file, first, last):
            if text.strip():
                yield LocatedExample(self._location(file, line), Example("", text))

    def _location(self, file: Path, line: int | None = None) -> str:
        name = file.name if file == self.path else str(file.relative_to(self.path))
        return name if line is None else f"{name}:{line}"


def _find_files(path: Path) -> tuple[list[Path], list[Path]]:
    """The files of a corpus at ``path``, and those that are ignored, both sorted."""
    suffixes = ", ".join(SUFFIXES)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"data is {path}: the files can be {suffixes}, or a folder of these")
        return [path], []
    if not path.is_dir():
        raise ValueError(f"data is {path}, which does not exist; give a file or a folder")
    visible = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    files = [file for file in visible if file.suffix.lower() in SUFFIXES]
    if not files:
        raise UsageError(f"data is {path}, a folder without any {suffixes} file; give another one")
    return files, [file for file in visible if file.suffix.lower() not in SUFFIXES]
