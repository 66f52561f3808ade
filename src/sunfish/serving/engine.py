"""The engine: continuous batching. Many jobs write at once, and every pass through the network serves all of them."""

from __future__ import annotations

import copy
import math
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from typing import Any, NamedTuple, TypeVar

import torch

from sunfish.config.rules import whole_number
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.batching import BatchingDenoiser, Network
from sunfish.serving.job import Job, JobCanceled
from sunfish.serving.scheduler import Request, Scheduler
from sunfish.utils import UsageError

T = TypeVar("T")
SMOOTHING = 0.1  # weight of the latest job in the mean duration


class QueueFullError(RuntimeError):
    """As many jobs wait as may wait; ``retry_after`` says in how many seconds one of them will probably run."""

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} jobs are waiting, as many as may; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class DrainingError(RuntimeError):
    """The engine takes no more jobs."""


class EngineStats(NamedTuple):
    """What an engine is doing, and what it has done since it was made."""

    running: int  # jobs
    waiting: int
    finished: int  # well
    failed: int
    canceled: int
    passes: int  # through the network
    rows: int  # of all passes; a text has one for each branch of guidance
    positions: int  # of all passes, padding counted

    @property
    def rows_per_pass(self) -> float:
        """Mean number of rows that share a pass; 0 before the first."""
        return self.rows / self.passes if self.passes else 0.0


class Engine:
    """Runs jobs against one pipeline, their network passes shared.

    A text does not depend on what runs beside it, other than by the rounding of the last bits of its logits.
    """

    def __init__(self, pipeline: Pipeline, *, max_running: int = 16, max_waiting: int = 64) -> None:
        """Prepare; :meth:`start` starts.

        Args:
            pipeline: What jobs use; it stays as it is.
            max_running: Jobs that run at the same time.
            max_waiting: Jobs that wait for a place, first come, first served.

        Raises:
            UsageError: The pipeline is compiled, or a number is out of range.
        """
        if pipeline.denoiser is not pipeline.model:
            raise UsageError(
                "compile is on, but shared passes have a new shape whenever a job comes or goes, and each would be "
                "compiled; leave compile out"
            )
        self.pipeline = pipeline
        self.max_running = whole_number("max_running", max_running, 1)
        self.max_waiting = whole_number("max_waiting", max_waiting, 0)
        self._network = Network(pipeline.model)
        self._scheduler = Scheduler(self._network.answer)
        self._lock = threading.RLock()
        self._arrived, self._left = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: deque[Job[Any]] = deque()
        self._running: set[Job[Any]] = set()
        self._threads: list[threading.Thread] = []
        self._draining = self._closed = False
        self._ended = Counter[str]()
        self._mean_seconds = 0.0  # of a job

    def start(self) -> None:
        """Start the threads; jobs that were submitted before begin now."""
        with self._lock:
            if self._threads or self._closed:
                raise RuntimeError("the engine was started before; make another one")
            # A job's own operations are small. With a thread each, only passes take all cores.
            threads, limited = torch.get_num_threads(), threading.Barrier(1 + self.max_running)
            self._threads = [
                threading.Thread(
                    target=self._answer, args=(threads, limited), name="sunfish passes", daemon=True
                )
            ]
            for number in range(self.max_running):
                name = f"sunfish job {number}"
                self._threads.append(
                    threading.Thread(target=self._work, args=(limited,), name=name, daemon=True)
                )
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[Pipeline], Iterator[T]]) -> Job[T]:
        """Run ``work`` as soon as there is a place, in a thread of the engine.

        Args:
            work: Gets a pipeline whose passes are shared, and yields what the job's reader shall get.

        Raises:
            QueueFullError: Too many jobs are waiting.
            DrainingError: The engine takes no more jobs.
        """
        job = Job(work, self._cancel)
        with self._lock:
            if self._draining:
                raise DrainingError("the engine is shutting down and takes no more jobs; ask another one")
            if len(self._waiting) >= self.max_waiting + self.max_running - len(self._running):
                retry_after = max(1.0, math.ceil(self._mean_seconds / self.max_running))
                raise QueueFullError(self.max_waiting, retry_after)
            self._waiting.append(job)
            self._arrived.notify()
        return job

    def stats(self) -> EngineStats:
        """What the engine is doing."""
        network = self._network
        with self._lock:
            return EngineStats(
                running=len(self._running),
                waiting=len(self._waiting),
                finished=self._ended["finished"],
                failed=self._ended["failed"],
                canceled=self._ended["canceled"],
                passes=network.num_passes,
                rows=network.num_rows,
                positions=network.num_positions,
            )

    def drain(self, timeout: float) -> bool:
        """Take no more jobs, and wait up to ``timeout`` seconds until all have ended; whether they have."""
        with self._lock:
            self._draining = True
            return self._left.wait_for(lambda: not self._waiting and not self._running, timeout)

    def close(self) -> None:
        """Cancel what is left, and end the threads; the engine can't be used again."""
        with self._lock:
            self._draining = self._closed = True
            jobs = [*self._waiting, *self._running]
            self._arrived.notify_all()
        for job in jobs:
            job.cancel()
        for thread in self._threads[1:]:
            thread.join()
        self._scheduler.close()
        for thread in self._threads[:1]:
            thread.join()

    # Threads.

    def _answer(self, threads: int, limited: threading.Barrier) -> None:
        """Run passes, on ``threads`` cores."""
        limited.wait()
        limit_threads(threads)  # last, since threads that start later inherit it
        self._scheduler.run()

    def _work(self, limited: threading.Barrier) -> None:
        """Run jobs, one after the other, until the engine is closed."""
        limit_threads(1)
        limited.wait()
        while (job := self._next()) is not None:
            begin = time.monotonic()
            error = self._run(job)
            with self._lock:
                self._running.remove(job)
                self._ended[_outcome(error)] += 1
                if error is None:
                    weight = SMOOTHING if self._mean_seconds else 1.0
                    self._mean_seconds += weight * (time.monotonic() - begin - self._mean_seconds)
                job.finish(error)
                self._left.notify_all()
            self._scheduler.end_turn(job)
            del job, error  # while this thread waits for the next one, nothing of this one is kept

    def _next(self) -> Job[Any] | None:
        """The job that has waited longest, or None when the engine is closed."""
        with self._lock:
            self._arrived.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            job = self._waiting.popleft()
            self._running.add(job)
            return job

    def _run(self, job: Job[Any]) -> BaseException | None:
        """All of one job; what its work raised."""
        try:
            self._scheduler.ask(Request(job, None))
            pipeline = copy.copy(self.pipeline)
            pipeline.denoiser = BatchingDenoiser(pipeline.model, job, self._scheduler.ask)
            items = job.work(pipeline)
            with closing(items) if isinstance(items, Generator) else nullcontext():
                for item in items:
                    job.check()
                    job.put(item)
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # what they name may hold caches
            return error
        return None

    def _cancel(self, job: Job[Any]) -> None:
        """Let go of a job that was canceled."""
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                self._ended["canceled"] += 1
                job.finish(JobCanceled())
                self._left.notify_all()
        self._scheduler.withdraw(job)


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    return "canceled" if isinstance(error, JobCanceled) else "failed"


def limit_threads(count: int) -> None:
    """Let the operations of this thread use ``count`` cores."""
    torch.get_num_threads()  # PyTorch gives a thread the number of the process when first asked, and not again
    torch.set_num_threads(count)
