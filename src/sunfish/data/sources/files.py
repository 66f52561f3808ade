"""The corpus of a user's own files: .txt, .jsonl, .csv, .parquet, or folders of these."""

from __future__ import annotations

import hashlib
import heapq
import string
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sunfish.data.prepare.report import SkipReport
from sunfish.data.sources.readers import (
    RECORDS,
    Bad,
    Record,
    broken,
    count_characters,
    read_delimited,
    read_long,
    read_paragraphs,
)
from sunfish.types import Example

SUFFIXES = (".txt", *RECORDS)
SMALL = 1_000  # corpora of fewer documents hold out an exact number of them
CHUNK_CHARACTERS = 1_000_000
Located = tuple[str, Example]


class FileSource:
    """Documents of files, in the order of their names and lines.

    A document is held out for validation by a hash of its text, so equal texts are never on both sides; a
    corpus of fewer than 1,000 documents holds out exactly ``validation_fraction`` of them, at least one. With
    ``delimiter='none'`` a .txt file is one long text whose first part is training and whose rest is
    validation. White space around a text is dropped, except in one long text. ``prompt`` is empty where the
    files give none: preparation then derives one. ``skips`` and ``notes`` tell of the last whole pass.
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
        self.path = Path(path).expanduser().resolve()
        self.name = "".join(c if c.isalnum() or c in "-_" else "-" for c in self.path.stem)
        self.text_field, self.prompt_field = text_field, prompt_field
        self.prompt_template = prompt_template
        self.delimiter = delimiter.replace("\\n", "\n").replace("\\t", "\t")
        self.validation_fraction = validation_fraction
        self.long_text = delimiter == "none"
        self.ignored: list[Path] = []
        self.files = self._find()
        self.prompt_fields = [prompt_field] if prompt_field else _template_fields(prompt_template)
        self.skips, self.notes = SkipReport(), SkipReport()
        self._threshold: int | None = None
        wants = "prompt_field" if prompt_field else "prompt_template"
        if self.prompt_fields and not any(f.suffix.lower() in RECORDS for f in self.files):
            raise ValueError(
                f"{wants} is {getattr(self, wants)!r}, but {self.path} has plain text, which has no fields"
            )

    def fingerprint(self) -> dict[str, Any]:
        """The files with their sizes and times, and the settings that decide what is read from them."""
        stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in self.files]
        return {
            "source": str(self.path),
            "files": hashlib.sha256(repr(stats).encode()).hexdigest(),
            "text_field": self.text_field,
            "prompt_field": self.prompt_field,
            "prompt_template": self.prompt_template,
            "delimiter": self.delimiter,
            "validation_fraction": self.validation_fraction,
        }

    def examples(self, split: str, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Example]:
        """Every ``world``-th document of ``split`` from ``start + rank`` on; ``prompt`` may be empty."""
        return islice((example for _, example in self.located(split)), start + rank, None, world)

    def chunks(self, split: str, size: int) -> Iterator[Callable[[], list[Located]]]:
        """Picklable jobs of up to ``size`` documents each."""
        chunk: list[Located] = []
        characters = 0
        for located in self.located(split):
            chunk.append(located)
            characters += len(located[1].text)
            if len(chunk) == size or characters >= CHUNK_CHARACTERS:
                yield partial(list, chunk)
                chunk, characters = [], 0
        if chunk:
            yield partial(list, chunk)

    def located(self, split: str) -> Iterator[Located]:
        """The documents of ``split``, each with its ``file:line``."""
        if split not in ("train", "validation"):
            raise ValueError(f"split is {split!r}; the splits are: train, validation")
        if not self.long_text and self._threshold is None:
            self._threshold = self._find_threshold()
        for place, example, held_out in self._documents(split):
            if held_out == (split == "validation"):
                yield place, example

    def _find(self) -> list[Path]:
        if self.path.is_file():
            if self.path.suffix.lower() not in SUFFIXES:
                raise ValueError(
                    f"data is {self.path}: the files can be {', '.join(SUFFIXES)}, or a folder of these"
                )
            return [self.path]
        if not self.path.is_dir():
            raise ValueError(f"data is {self.path}, which does not exist")
        visible = [
            f
            for f in sorted(self.path.rglob("*"))
            if f.is_file() and not any(part.startswith(".") for part in f.relative_to(self.path).parts)
        ]
        found = [f for f in visible if f.suffix.lower() in SUFFIXES]
        self.ignored = [f for f in visible if f not in set(found)]
        if not found:
            raise ValueError(f"data is {self.path}, a folder without any {', '.join(SUFFIXES)} file")
        return found

    def _find_threshold(self) -> int:
        """Documents whose hash is below it are held out."""
        share = int(self.validation_fraction * 2**64)
        hashes: set[int] = set()
        for count, (_, example, _) in enumerate(self._documents("train", every=True), 1):
            hashes.add(_hash(example.text))
            if count >= SMALL:
                return share
        if len(hashes) < 2:
            raise ValueError(
                f"{self.path} has only one document, so none can be held out for validation; "
                "give more, or say --delimiter none for one long text, "
                "or --delimiter '\\n' for one document a line"
            )
        exact = min(max(1, round(self.validation_fraction * len(hashes))), len(hashes) - 1)
        return heapq.nsmallest(exact, hashes)[-1] + 1

    def _documents(self, split: str, every: bool = False) -> Iterator[tuple[str, Example, bool]]:
        """Every usable document with its place and whether it is held out, counting what is skipped."""
        self.skips, self.notes = SkipReport(), SkipReport()
        for file in self.ignored:
            self.skips.add(f"file is none of {', '.join(SUFFIXES)}", self._place(file))
        usable = records = with_text = with_prompt = 0
        fields: dict[str, None] = {}
        for file in self.files:
            if not file.stat().st_size:
                self.skips.add("file is empty", self._place(file))
                continue
            if self.long_text and file.suffix.lower() == ".txt":
                for line, text in self._long(file, split):
                    usable += 1
                    yield self._place(file, line), Example("", text), split == "validation"
                continue
            for line, record in self._records(file):
                place = self._place(file, line)
                if isinstance(record, dict):
                    records += 1
                    fields.update(dict.fromkeys(record))
                    with_text += self.text_field in record
                    with_prompt += all(name in record for name in self.prompt_fields)
                example = self._example(record, place)
                if example is not None:
                    usable += 1
                    yield place, example, not every and _hash(example.text) < (self._threshold or 0)
        found = ", ".join(map(str, fields)) or "none"
        if records and not with_text:
            raise ValueError(
                f"text_field is {self.text_field!r}, but no record of {self.path} has it; "
                f"fields found: {found}; give one of them as --text-field"
            )
        if records and not with_prompt:
            name = "prompt_field" if self.prompt_field else "prompt_template"
            raise ValueError(
                f"{name} is {getattr(self, name)!r}, but no record of {self.path} has "
                f"{' and '.join(self.prompt_fields)}; fields found: {found}"
            )
        if not usable:
            raise ValueError(
                f"{self.path} has no usable document: {'; '.join(self.skips.lines()) or 'it is empty'}"
            )

    def _long(self, file: Path, split: str) -> Iterator[tuple[int, str]]:
        total = count_characters(file)
        cut = int(total * (1 - self.validation_fraction))
        first, last = (0, cut) if split == "train" else (cut, total)
        for line, text in read_long(file, first, last):
            if text.strip():
                yield line, text

    def _records(self, file: Path) -> Iterator[tuple[int, Record]]:
        suffix = file.suffix.lower()
        if suffix == ".txt":
            return read_delimited(file, self.delimiter) if self.delimiter else read_paragraphs(file)
        return RECORDS[suffix](file)

    def _example(self, record: Record, place: str) -> Example | None:
        """The document of a record, or None after counting why there is none."""
        if isinstance(record, Bad):
            self.skips.add(record.reason, place)
            return None
        text: Any = record
        if isinstance(record, dict):
            if self.text_field not in record:
                self.skips.add(f"record has no field {self.text_field!r}", place)
                return None
            text = record[self.text_field]
        if not isinstance(text, str):
            self.skips.add(f"field {self.text_field!r} is no text", place)
            return None
        if broken(text):
            self.skips.add("text is no valid UTF-8", place)
            return None
        if not text.strip():
            self.skips.add("text is empty", place)
            return None
        return Example(self._prompt(record, place) if isinstance(record, dict) else "", text.strip())

    def _prompt(self, record: dict[str, Any], place: str) -> str:
        if not self.prompt_fields:
            return ""
        values = {name: record.get(name) for name in self.prompt_fields}
        for name, value in values.items():
            if value is None or not str(value).strip() or broken(str(value)):
                self.notes.add(
                    f"field {name!r} is absent, empty or broken: prompt derived from the text", place
                )
                return ""
        if self.prompt_field:
            return str(values[self.prompt_field]).strip()
        return self.prompt_template.format(**values).strip()

    def _place(self, file: Path, line: int | None = None) -> str:
        name = file.name if file == self.path else str(file.relative_to(self.path))
        return name if line is None else f"{name}:{line}"


def _template_fields(template: str) -> list[str]:
    """The fields that a template such as 'Write a {label} review' names."""
    remedy = "name fields of the record in braces, for example 'Write a {label} review'"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"prompt_template is {template!r} ({error}); {remedy}") from error
    names = list(dict.fromkeys(name for _, name, _, _ in parts if name is not None))
    if template and (not names or not all(name.isidentifier() for name in names)):
        raise ValueError(f"prompt_template is {template!r}, which names no field; {remedy}")
    return names


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")
