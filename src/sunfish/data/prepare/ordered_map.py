"""Maps a function over jobs on all cores, with the results in order and bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

from sunfish.hardware.cpu import hardware_threads
from sunfish.signals import STOPPING

Job = TypeVar("Job")
Result = TypeVar("Result")

SECONDS_TO_HAND_OVER = 3  # what a worker has left after SIGTERM
JOBS_PER_WORKER = 4  # under way at most, so that a corpus larger than memory streams through

_work: Callable[[Any], Any] | None = None  # set once in each worker process


def ordered_map(
    work: Callable[[Job], Result], jobs: Iterable[Job], workers: int = 0
) -> Generator[Result, None, None]:
    """``work(job)`` for each job, in the order of ``jobs``.

    A single worker, or a single job, runs in this process. Closing the generator ends the workers.

    Args:
        work: A function that can be pickled.
        jobs: Its arguments; they can be pickled, and they are taken only as they are needed.
        workers: Number of processes; 0: one for each hardware thread.

    Raises:
        MemoryError: A worker process died.
        Exception: What ``work`` raises.
    """
    workers = workers or hardware_threads()
    jobs = iter(jobs)
    head = list(islice(jobs, 2))
    jobs = chain(head, jobs)
    if workers == 1 or len(head) < 2:
        yield from map(work, jobs)
        return
    with _without_tokenizer_threads(), _pool(work, workers) as pool:
        pending: deque[Future[Result]] = deque(
            pool.submit(_call, job) for job in islice(jobs, JOBS_PER_WORKER * workers)
        )
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(_call, job) for job in islice(jobs, 1))
            yield result


@contextmanager
def _without_tokenizer_threads() -> Iterator[None]:
    """Each worker encodes on its own core; the variable also tells the library that the fork is intended."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("TOKENIZERS_PARALLELISM", None)
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


@contextmanager
def _pool(work: Callable[[Any], Any], workers: int) -> Iterator[ProcessPoolExecutor]:
    # Forking shares the tokenizer and the imports with the workers; elsewhere it is unsafe or absent.
    method = "fork" if sys.platform == "linux" else "spawn"
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context(method), _start_worker, (work,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise MemoryError(
            "a worker process of the preparation died, most often for lack of memory; "
            "close other programs or use fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    # A terminal signals the workers as well, but the parent ends them, when they have handed over their
    # results: half a result would block it forever. Where one of them has died it sends SIGTERM to the rest.
    for signum in STOPPING:
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_TO_HAND_OVER))
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    """A killed parent cannot end its workers, so they watch it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _call(job: Any) -> Any:
    assert _work is not None, "the pool starts each worker with its work"
    return _work(job)
