"""The worker processes of the preparation: order, bounded memory, and failures that are told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from sunfish.data.prepare import ordered_map as module
from sunfish.data.prepare.ordered_map import JOBS_PER_WORKER, SECONDS_TO_HAND_OVER, ordered_map
from sunfish.signals import STOPPING


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


class PoolHere:
    """Stands for ``ProcessPoolExecutor``: runs each job at once, in this process, as a worker would."""

    made: ClassVar[list[PoolHere]] = []

    def __init__(self, workers: int, context: Any, start: Callable[..., None], arguments: tuple[Any]) -> None:
        assert start is module._start_worker
        module._work = arguments[0]
        self.workers, self.context = workers, context
        self.parallelism = os.environ.get("TOKENIZERS_PARALLELISM")
        self.ended: dict[str, bool] = {}
        self.made.append(self)

    def submit(self, call: Callable[[Any], Any], job: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(job))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **how: bool) -> None:
        self.ended = how


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[PoolHere]:
    """The pools that are made."""
    monkeypatch.setattr(PoolHere, "made", [])
    monkeypatch.setattr(module, "ProcessPoolExecutor", PoolHere)
    monkeypatch.setattr(module, "_work", None)
    return PoolHere.made


@pytest.mark.parametrize("before", [None, "true"])
def test_a_pool_of_workers_gives_all_results_in_order(
    before: str | None, pools: list[PoolHere], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker encodes on one core, so tokenizers start no threads in it; the setting is as before afterwards."""
    if before is None:
        monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    else:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    read = []

    def jobs() -> Iterator[int]:
        for number in range(100, 150):
            read.append(number)
            yield number

    results = ordered_map(square, jobs(), 3)
    assert next(results) == 100 * 100
    assert len(read) == 3 * JOBS_PER_WORKER + 1  # what is under way, and one for the result that is taken
    assert list(results) == [n * n for n in range(101, 150)]
    (pool,) = pools
    assert pool.workers == 3 and pool.parallelism == "false"
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before
    assert pool.ended == {"wait": True, "cancel_futures": True}


@pytest.mark.parametrize("platform,method", [("linux", "fork"), ("darwin", "spawn"), ("win32", "spawn")])
def test_workers_are_forked_where_that_is_safe(
    platform: str, method: str, pools: list[PoolHere], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "sys", SimpleNamespace(platform=platform))
    if method in multiprocessing.get_all_start_methods():
        assert list(ordered_map(square, [2, 3], 2)) == [4, 9]
        assert pools[0].context.get_start_method() == method


def test_as_many_workers_as_hardware_threads(pools: list[PoolHere], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "hardware_threads", lambda: 5)
    assert list(ordered_map(square, [2, 3])) == [4, 9]
    assert [pool.workers for pool in pools] == [5]
    assert list(ordered_map(square, [2])) == [4]  # a single job needs no worker
    assert list(ordered_map(square, [2, 3], 1)) == [4, 9]
    assert len(pools) == 1


def test_closing_ends_the_workers(pools: list[PoolHere]) -> None:
    results = ordered_map(square, [2, 3, 4], 2)
    assert next(results) == 4 and not pools[0].ended
    results.close()
    assert pools[0].ended == {"wait": True, "cancel_futures": True}


def test_a_pool_that_breaks_says_what_to_do(pools: list[PoolHere]) -> None:
    def fail(job: int) -> int:
        raise BrokenProcessPool("a child process terminated abruptly")

    with pytest.raises(MemoryError) as error:
        list(ordered_map(fail, [1, 2], 2))
    assert str(error.value) == (
        "a worker process of the preparation died, most often for lack of memory; "
        "close other programs or use fewer workers"
    )
    assert isinstance(error.value.__cause__, BrokenProcessPool) and pools[0].ended


def test_a_worker_leaves_stopping_to_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has three seconds to hand over its results after SIGTERM, and watches whether its parent lives."""
    handlers: dict[int, Any] = {}
    alarms: list[int] = []
    threads: list[dict[str, Any]] = []
    fakes = {"SIG_IGN": signal.SIG_IGN, "SIGTERM": signal.SIGTERM, "alarm": alarms.append}
    monkeypatch.setattr(module, "signal", SimpleNamespace(signal=handlers.__setitem__, **fakes))
    thread = SimpleNamespace(start=lambda: threads[-1].update(started=True))
    monkeypatch.setattr(threading, "Thread", lambda **how: threads.append(how) or thread)
    monkeypatch.setattr(os, "getppid", lambda: 4321)
    monkeypatch.setattr(module, "_work", None)
    with pytest.raises(AssertionError, match=r"^the pool starts each worker with its work$"):
        module._call(7)
    module._start_worker(square)
    assert module._call(7) == 49
    assert set(handlers) == {*STOPPING, signal.SIGTERM}
    assert {handlers[signum] for signum in STOPPING if signum != signal.SIGTERM} == {signal.SIG_IGN}
    handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert alarms == [SECONDS_TO_HAND_OVER]
    watch = {"target": module._exit_with_parent, "args": (4321,), "daemon": True, "started": True}
    assert threads == [watch]


def test_a_worker_exits_when_its_parent_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    parents, slept, codes = iter([4321, 4321, 1]), [], []
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=slept.append))
    module._exit_with_parent(4321)
    assert slept == [1, 1] and codes == [1]
