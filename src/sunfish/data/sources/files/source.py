"""Owns a corpus of files: which files it has, and which of their documents are held out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sunfish.data.report import PreparationReport
from sunfish.data.sources.base import ContinuedExample, LocatedExample
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
from sunfish.data.sources.held_out import HeldOutSource, is_held_out
from sunfish.text_files import remedy
from sunfish.types import Example
from sunfish.utils import UsageError

SUFFIXES = (".txt", *RECORD_READERS)
READING_RULES = 3  # raised when the same files give other documents than before


class FileSource(HeldOutSource):
    """Documents of files, in the order of their names and lines.

    With ``delimiter='none'`` a .txt file is one long text whose first part is training and whose rest is
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
        fields = RecordFields(text_field, prompt_field, prompt_template)
        super().__init__(self.path.stem, fields, validation_fraction)
        self.delimiter = parse_delimiter(delimiter)
        self.long_text = delimiter == "none"
        self.files, self.unread = find_files(self.path, SUFFIXES)
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
            **self.settings(),
            "delimiter": self.delimiter,
            "rules": READING_RULES,
        }

    def _find_threshold(self) -> int:
        # One long text is divided by characters, and the records beside it are all for training.
        return 0 if self.long_text else super()._find_threshold()

    def _too_few(self, count: int) -> str:
        ways = ", or say --delimiter none for one long text, or --delimiter '\\n' for one document a line"
        return (
            f"{self.path} has only one document{f' ({count} times)' if count > 1 else ''}, so none can be held "
            f"out for validation; give more{ways if self._has_txt else ''}"
        )

    def _read(self, split: str, threshold: int) -> Iterator[LocatedExample]:
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
                    if is_held_out(document, threshold) == (split == "validation"):
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
