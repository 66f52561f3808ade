"""The worker processes of the preparation: order, bounded memory, and failures that are told."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sunfish.data.prepare.ordered_map import ordered_map


def square(number: int) -> int:
    if number == 13:
        raise ValueError("thirteen is refused")
    if number == 17:
        os._exit(3)
    return number * number


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_ordered_map(workers: int) -> None:
    assert list(ordered_map(square, range(12), workers)) == [n * n for n in range(12)]
    assert list(ordered_map(square, [], workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_are_read_only_as_they_are_needed(workers: int) -> None:
    read = []

    def jobs() -> Iterator[int]:
        for _ in range(1000):
            read.append(1)
            yield 2

    results = ordered_map(square, jobs(), workers)
    assert [next(results) for _ in range(10)] == [4] * 10
    results.close()
    assert len(read) <= 10 + 4 * workers + 2


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_job_arrives(workers: int) -> None:
    with pytest.raises(ValueError, match="thirteen"):
        list(ordered_map(square, [1, 2, 13, 4], workers))


def test_a_dead_worker_is_an_error_and_no_hang() -> None:
    with pytest.raises(MemoryError, match="worker process of the preparation died"):
        list(ordered_map(square, [1, 17, 3], 2))
