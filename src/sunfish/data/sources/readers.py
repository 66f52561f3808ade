"""Reads records out of one file, streaming: .txt, .jsonl, .csv, .parquet. One function a format.

A reader yields ``(line, record)``: a dictionary of fields, or a ``str`` for plain text, or a ``Bad`` with the
reason where the file holds something that is no record. Bytes that are no UTF-8 arrive as lone surrogates
("surrogateescape"), which :func:`broken` finds, so that one bad byte costs one document and not the file.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sunfish.utils import how_to_install

PART = 4_000_000  # characters of one long text that are handled as a unit


class Bad(NamedTuple):
    """Something that is no record, and why."""

    reason: str


Record = str | dict[str, Any] | Bad
Reader = Callable[[Path], Iterator[tuple[int, Record]]]

_SURROGATE = re.compile("[\ud800-\udfff]")


def broken(text: str) -> bool:
    """Whether ``text`` holds bytes that were no UTF-8, or lone surrogates."""
    return _SURROGATE.search(text) is not None


def read_paragraphs(path: Path) -> Iterator[tuple[int, Record]]:
    """Documents divided by blank lines."""
    lines: list[str] = []
    first = 1
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                if not lines:
                    first = number
                lines.append(line)
            elif lines:
                yield first, "".join(lines)
                lines = []
    if lines:
        yield first, "".join(lines)


def read_delimited(path: Path, delimiter: str) -> Iterator[tuple[int, Record]]:
    """Documents divided by ``delimiter``, which may stand anywhere, also inside a line. Blank ones are
    dropped: they only mean that the file begins or ends with the delimiter."""
    rest, line = "", 1
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        while True:
            more = file.read(1 << 20)
            *documents, rest = (rest + more).split(delimiter)
            if not more:
                documents.append(rest)
            for document in documents:
                if document.strip():
                    yield line + document[: len(document) - len(document.lstrip())].count("\n"), document
                line += document.count("\n") + delimiter.count("\n")
            if not more:
                return


def read_long(path: Path, first: int, last: int) -> Iterator[tuple[int, str]]:
    """The characters ``first`` to ``last`` of a file as parts of about 4 million characters, cut before white
    space."""
    at, line, part, part_line = 0, 1, "", 0
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        while at < last and (more := file.read(1 << 20)):
            skipped = max(0, first - at)
            wanted = more[skipped : last - at]
            if bad := _SURROGATE.search(wanted):
                raise ValueError(
                    f"{path}:{line + more.count(chr(10), 0, skipped + bad.start())}: bytes that are no "
                    "UTF-8; save the file as UTF-8 (for example with 'iconv -f LATIN1 -t UTF-8'), "
                    "since one long text cannot leave out a document"
                )
            if wanted and not part_line:
                part_line = line + more.count("\n", 0, skipped)
            at += len(more)
            line += more.count("\n")
            part += wanted
            while len(part) > PART:
                cut = max(part.rfind(" ", 0, PART), part.rfind("\n", 0, PART))
                cut = cut if cut > 0 else PART
                yield part_line, part[:cut]
                part_line += part.count("\n", 0, cut)
                part = part[cut:]
    if part:
        yield part_line, part


def count_characters(path: Path) -> int:
    """Characters of a text file, streaming."""
    count = 0
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        while more := file.read(1 << 20):
            count += len(more)
    return count


def read_jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    """One JSON object a line."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                yield number, Bad("line is no JSON")
                continue
            yield (
                number,
                record if isinstance(record, dict) else Bad("line is JSON, but no object with fields"),
            )


def read_csv(path: Path) -> Iterator[tuple[int, Record]]:
    """Comma-separated values with a header line; quoted fields may span lines."""
    csv.field_size_limit(1 << 30)  # the default of 128 KiB is less than a long document
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, strict=True)  # an unclosed quote would silently swallow the rest
        try:
            _ = reader.fieldnames
        except csv.Error as error:
            raise ValueError(f"{path}:1: the header line is no CSV ({error})") from error
        while True:
            line = reader.line_num + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, Bad(f"row is no CSV ({error})")
                continue
            if None in record:
                yield line, Bad("row has more fields than the header")
            else:
                yield line, {k: v for k, v in record.items() if v is not None}


def read_parquet(path: Path) -> Iterator[tuple[int, Record]]:
    """Rows of a Parquet file; the "line" is the row's number from 1."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(
            f"{path}: reading .parquet needs pyarrow; install it with: {how_to_install('parquet')}"
        ) from error
    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    yield number, {k: v for k, v in record.items() if v is not None}
    except ArrowException as error:
        raise ValueError(f"{path}: no readable Parquet file after row {number}: {error}") from error


RECORDS: dict[str, Reader] = {".jsonl": read_jsonl, ".csv": read_csv, ".parquet": read_parquet}
