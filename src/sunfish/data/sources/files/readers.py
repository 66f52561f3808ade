"""Reads records with fields out of one file, streaming: .jsonl, tables, .parquet. One function a format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sunfish.data.sources.files.records import BadRecord, Reader, Record
from sunfish.data.sources.files.tables import DELIMITERS, read_table
from sunfish.text_files import text_lines
from sunfish.utils import how_to_install

PARQUET_ROWS = 1024  # read at a time


def read_jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    """One JSON object a line; numbers stay the text that the file has."""
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            record = JSON.decode(line)
        except _RepeatedKey as error:
            yield number, BadRecord(f"line names the field {error.args[0]!r} twice")
        except (ValueError, RecursionError):
            yield number, BadRecord("line is no JSON")
        else:
            is_record = isinstance(record, dict)
            yield number, record if is_record else BadRecord("line is JSON, but no object with fields")


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
                    yield number, record
    except ArrowException as error:
        raise ValueError(
            f"{path}: no readable Parquet file after row {number}: {error}; write it again"
        ) from error


class _RepeatedKey(ValueError):
    """A key that one JSON object has twice."""


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKey(next(name for name in names if names.count(name) > 1))
    return fields


# Numbers stay the text that the file has.
JSON = json.JSONDecoder(
    strict=False,  # tabs and the like inside strings
    object_pairs_hook=_fields,
    parse_int=str,
    parse_float=str,
    parse_constant=lambda name: None if name == "NaN" else name,
)
RECORD_READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    **dict.fromkeys(DELIMITERS, read_table),
    ".parquet": read_parquet,
}
