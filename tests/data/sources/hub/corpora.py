"""Data sets that tests put on a hub."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow
from pyarrow import parquet

NAME, TABLE = "user/tales", "user/table"
README = """---
configs:
- config_name: short
  data_files:
  - split: train
    path: short/train-*.jsonl
  - split: validation
    path: short/held.jsonl
- config_name: long
  data_files:
  - split: train
    path: long/*.jsonl
  - split: test
    path: held/long.jsonl
---
Tales.
"""


def tales(first: int, last: int) -> list[dict[str, Any]]:
    """Records with a text, a prompt and a number."""
    return [{"text": f"The tale of number {i}.", "about": f"number {i}", "n": i} for i in range(first, last)]


def as_jsonl(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def as_parquet(records: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(records), buffer, row_group_size=20)
    return buffer.getvalue()


def two_configurations() -> dict[str, bytes]:
    """``short`` has a validation split, ``long`` has none."""
    return {
        "README.md": README.encode(),
        "short/train-0.jsonl": as_jsonl(tales(0, 30)),
        "short/train-1.jsonl": as_jsonl(tales(30, 60)),
        "short/held.jsonl": as_jsonl(tales(60, 70)),
        "long/0.jsonl": as_jsonl(tales(100, 150)),
        "long/1.jsonl": as_jsonl(tales(150, 200)),
        "held/long.jsonl": as_jsonl(tales(200, 210)),
    }


def one_table() -> dict[str, bytes]:
    """Two Parquet files of one split, found by their names."""
    return {f"data/train-0000{i}-of-00002.parquet": as_parquet(tales(50 * i, 50 * i + 50)) for i in range(2)}
