"""Runs jobs on all cores, in order, with bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from sunfish.hardware.cpu import hardware_threads

Job = TypeVar("Job")
Result = TypeVar("Result")

_work: Callable[[Any], Any] | None = None  # set once in each worker process


def in_order(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int = 0) -> Iterator[Result]:
    """``work(job)`` for each job, in the order of ``jobs``, on ``workers`` processes (0: one for each hardware thread).

    A single worker, or a single job, runs in this process. At most four jobs a worker are under way, so a
    corpus larger than memory streams through.
    """
    workers = workers or hardware_threads()
    jobs = iter(jobs)
    head = list(islice(jobs, 2))
    jobs = chain(head, jobs)
    if workers == 1 or len(head) < 2:
        yield from map(work, jobs)
        return
    # Each worker encodes on its own core; the variable also tells the library that the fork is intended.
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    method = "fork" if sys.platform == "linux" else "spawn"
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context(method), _start, (work,))
    try:
        waiting: deque[Future[Result]] = deque(pool.submit(_call, job) for job in islice(jobs, 4 * workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(_call, job) for job in islice(jobs, 1))
            yield result
    except BrokenProcessPool as error:
        raise MemoryError(
            "a worker process of the preparation died, most often for lack of memory; "
            "close other programs or use fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if before is None:
            os.environ.pop("TOKENIZERS_PARALLELISM", None)
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _start(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the parent ends its workers; they need not report it as well
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """A killed parent cannot end its workers, so they watch it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _call(job: Any) -> Any:
    assert _work is not None
    return _work(job)
