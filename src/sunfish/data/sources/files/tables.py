"""Reads tables, streaming: .csv and .tsv as programs write them, and with the stray quotes that people leave.

The delimiter, and whether a backslash escapes, are what suits the header and the first rows best. A quote
that is opened by mistake costs its own row at most: that line is read again as it stands.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from sunfish.data.sources.files.records import BadRecord, Note, Record
from sunfish.data.sources.files.stray_quotes import ColumnValues, read_damaged
from sunfish.text_files import text_lines

DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
NO_DELIMITER = "\x1f"  # of a table with one column, whose texts may hold any of the others
MAX_FIELD = 1 << 25  # characters; what a stray quote may swallow before it is found out
SAMPLE_LINES = 200
HINT = re.compile(r'"?sep=([^\r\n])"?[\r\n]*')  # a first line for Excel that names the delimiter
BROKEN_ROW = "row is no CSV: a stray quote breaks it"
STRAY_QUOTE = "row with a stray quote, read as it stands"
REPEATED_HEADER = "row repeats the header"


class Dialect(NamedTuple):
    """How a table is written."""

    delimiter: str
    escape: str | None = None


class Row(NamedTuple):
    """The fields of a row, the line where it begins, and whether a stray quote was found in it."""

    line: int
    fields: list[str]
    is_stray: bool = False


class Lines:
    """An iterator over lines that remembers what it gave since ``taken`` was emptied, and takes it back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self._returned = lines, deque[str]()
        self.taken: list[str] = []

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        self.taken.append(self._returned.popleft() if self._returned else next(self._lines))
        return self.taken[-1]

    def give_back(self, lines: list[str]) -> None:
        """Give these lines once more."""
        self._returned.extendleft(reversed(lines))


def read_table(path: Path) -> Iterator[tuple[int, Record]]:
    """The rows of a table with a header line; quoted fields may span lines.

    Raises:
        ValueError: The header line cannot be read.
    """
    csv.field_size_limit(MAX_FIELD)
    lines = (line for _, line in text_lines(path, newline=""))
    sample = list(islice(lines, SAMPLE_LINES))
    delimiters, first = DELIMITERS[path.suffix.lower()], 1
    if sample and (hint := HINT.fullmatch(sample[0])):
        delimiters, first, sample = hint[1], 2, sample[1:]
    try:
        rows = read_rows(chain(sample, lines), find_dialect(sample, delimiters), first)
        line, header, _ = next(rows, Row(1, []))
    except csv.Error as error:
        raise ValueError(f"{path}:1: the header line is no CSV ({error}); repair it") from error
    columns: dict[str, int] = {}
    for index, name in enumerate(map(str.strip, header)):
        if name in columns and name:
            yield line, Note(f"header names {name!r} twice: the first column is read")
        columns.setdefault(name, index)
    is_broken = False
    for row in rows:
        # The lines of a row that a stray quote broke are no rows.
        is_broken = len(row.fields) != len(header) and (row.is_stray or is_broken)
        if is_broken:
            yield row.line, BadRecord(BROKEN_ROW)
        else:
            yield from _records(row, header, columns)


def _records(row: Row, header: list[str], columns: dict[str, int]) -> Iterator[tuple[int, Record]]:
    """The record of a row, with a note where a quote in it is stray."""
    if row.fields == header:
        yield row.line, BadRecord(REPEATED_HEADER)
    elif any(field.strip() for field in row.fields[len(header) :]):
        yield row.line, BadRecord("row has more fields than the header")
    else:
        if row.is_stray:
            yield row.line, Note(STRAY_QUOTE)
        yield row.line, {name: row.fields[i] for name, i in columns.items() if i < len(row.fields)}


def find_dialect(sample: list[str], delimiters: str) -> Dialect:
    """The dialect in which the fewest of the first rows of a table are damaged.

    Args:
        sample: The first lines, header included.
        delimiters: Those that come into question, the likeliest first.

    Raises:
        csv.Error: The header cannot be read.
    """
    best, least = Dialect(NO_DELIMITER), 2.0
    refusal: csv.Error | None = None
    for dialect in (Dialect(d, escape) for d in delimiters for escape in (None, "\\")):
        rows = read_rows(iter(sample), dialect)
        try:
            width = len(next(rows, Row(1, [])).fields)
        except csv.Error as error:
            refusal = error
            continue
        if width > 1:
            damaged = [row.is_stray or len(row.fields) != width for row in rows]
            share = sum(damaged) / max(1, len(damaged))
            if share < least:
                best, least = dialect, share
    if refusal and best.delimiter == NO_DELIMITER:
        raise refusal
    return best


def read_rows(lines: Iterator[str], dialect: Dialect, first: int = 1) -> Iterator[Row]:
    """The rows of a table, the header first; empty lines are none.

    Args:
        lines: Of the table.
        dialect: How it is written.
        first: The number of the first line.

    Raises:
        csv.Error: The header cannot be read.
    """
    source, number, width = Lines(lines), first, 0
    columns = ColumnValues()
    reader_of = partial(
        csv.reader, delimiter=dialect.delimiter, escapechar=dialect.escape, skipinitialspace=True, strict=True
    )
    reader = reader_of(source)
    while True:
        source.taken = []
        try:
            fields, is_stray = next(reader), False
        except StopIteration:
            return
        except csv.Error:
            if not width:
                raise
            fields, is_stray = [], True
        is_too_wide = len(source.taken) > 1 and len(fields) > width > 0
        if is_stray or is_too_wide or columns.are_rows(source.taken, dialect.delimiter):
            fields, count = read_damaged(source.taken, dialect.delimiter, width)
            source.give_back(source.taken[count:])
            source.taken = source.taken[:count]
            reader, is_stray = reader_of(source), True
        if fields:
            width = width or len(fields)
            columns.add(fields)
            yield Row(number, fields, is_stray)
        number += len(source.taken)
