"""Counting distinct hashes part by part: the counts are those of sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sunfish.data.prepare import distinct
from sunfish.data.prepare.distinct import count_distinct


def write(path: Path, hashes: list[int]) -> Path:
    path.write_bytes(np.array(hashes, np.uint64).tobytes())
    return path


@pytest.mark.parametrize("held", [1, 3, 50, 10**6])
@pytest.mark.parametrize("read", [1, 7, 10**6])
def test_the_counts_are_those_of_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, read: int
) -> None:
    monkeypatch.setattr(distinct, "HASHES_HELD", held)
    monkeypatch.setattr(distinct, "HASHES_READ", read)
    rng = np.random.default_rng(held)
    bounds = [0, 2**64 - 1, 2**63, 2**63 - 1, *(part * 2**64 // 13 for part in range(13))]
    pool = [*bounds, *map(int, rng.integers(0, 2**64, 40, dtype=np.uint64))]
    train = [pool[i] for i in rng.integers(0, len(pool), 60)] + bounds
    validation = [pool[i] for i in rng.integers(0, len(pool), 20)] + [2**64 - 1]
    counts = count_distinct(write(tmp_path / "train", train), write(tmp_path / "validation", validation))
    assert counts == (len({*train}), len({*validation}), len({*train} & {*validation}))


def test_a_text_that_is_repeated_takes_the_memory_of_one(tmp_path: Path) -> None:
    empty, same = write(tmp_path / "a", []), write(tmp_path / "b", [7] * 100_000)
    assert count_distinct(same, empty) == (1, 0, 0)
    assert count_distinct(empty, empty) == (0, 0, 0)
