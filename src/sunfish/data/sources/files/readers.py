"""Reads records with fields out of one file, streaming: .jsonl, .csv, .parquet. One function a format."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from sunfish.data.sources.files.records import BadRecord, Reader, Record, open_text
from sunfish.utils import how_to_install

MAX_CSV_FIELD = 1 << 30  # characters; the library's 128 KiB are less than a long document
PARQUET_ROWS = 1024  # read at a time


def read_jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    """One JSON object a line."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                yield number, BadRecord("line is no JSON")
                continue
            if isinstance(record, dict):
                yield number, record
            else:
                yield number, BadRecord("line is JSON, but no object with fields")


def read_csv(path: Path) -> Iterator[tuple[int, Record]]:
    """Comma-separated values with a header line; quoted fields may span lines.

    Raises:
        ValueError: The header line is no CSV.
    """
    csv.field_size_limit(MAX_CSV_FIELD)
    with open_text(path, newline="") as file:
        # Strict, because an unclosed quote would otherwise swallow the rest without a word.
        reader = csv.DictReader(file, strict=True)
        try:
            _ = reader.fieldnames
        except csv.Error as error:
            raise ValueError(f"{path}:1: the header line is no CSV ({error}); repair it") from error
        while True:
            line = reader.line_num + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, BadRecord(f"row is no CSV ({error})")
                continue
            if None in record:
                yield line, BadRecord("row has more fields than the header")
            else:
                yield line, {name: value for name, value in record.items() if value is not None}


def read_parquet(path: Path) -> Iterator[tuple[int, Record]]:
    """Rows of a Parquet file; the number is the row's, from 1.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: The file is no Parquet file, or it is damaged.
    """
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
            for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield number, {name: value for name, value in record.items() if value is not None}
    except ArrowException as error:
        raise ValueError(
            f"{path}: no readable Parquet file after row {number}: {error}; write it again"
        ) from error


RECORD_READERS: dict[str, Reader] = {".jsonl": read_jsonl, ".csv": read_csv, ".parquet": read_parquet}
