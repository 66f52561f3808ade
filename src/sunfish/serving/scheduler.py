"""The scheduler: it collects what jobs ask of the network, and answers many of them by one pass.

Jobs are ordinary code in threads of their own, and only one of them runs at a time: each runs from the answer to one
pass to the question for the next, then the next job has its turn. So they do not fight for Python's lock, and a pass
begins when all have asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from sunfish.serving.job import Job

PATIENCE = 0.05  # seconds that the others wait for a job that computes; then it catches up by itself
PASS_POSITIONS = 32  # positions, padding for one, that cost as much as a pass of its own


class Request:
    """A question of a job: answered in one pass with others of the same ``key``, if any.

    Attributes:
        job: Whose it is.
        key: What can be answered together.
        rows: How many texts, guidance branches counted.
        width: Positions of each row; of the same key, shorter ones are padded.
        is_pass: Whether it takes a pass through the network, and not only a small part of it.
        passed_over: How many passes answered others since it was asked.
    """

    def __init__(
        self, job: Job[Any], key: Hashable, rows: int = 0, width: int = 0, is_pass: bool = False
    ) -> None:
        self.job, self.key, self.rows, self.width, self.is_pass = job, key, rows, width, is_pass
        self.passed_over = 0
        self.answer: Any = None
        self.error: BaseException | None = None
        self._answered = threading.Lock()
        self._answered.acquire()

    def wait(self) -> Any:
        """The answer, or raise what went wrong."""
        self._answered.acquire()
        if self.error is not None:
            raise self.error
        self.job.check()
        return self.answer

    def release(self) -> None:
        """Let :meth:`wait` return."""
        self._answered.release()


class Scheduler:
    """Answers requests, in a thread that calls :meth:`run`."""

    def __init__(self, answer: Callable[[Sequence[Request]], Sequence[Any]]) -> None:
        """``answer`` says what to tell each of some requests of the same key."""
        self._answer = answer
        self._changed = threading.Condition()
        self._pending: list[Request] = []
        self._turn: Job[Any] | None = None
        self._closed = False

    # The jobs' side.

    def ask(self, request: Request) -> Any:
        """The answer to ``request``; the job's turn ends.

        Raises:
            JobCanceled: The job was canceled.
            Exception: The network could not answer.
        """
        with self._changed:
            request.job.check()
            self._pending.append(request)
            if self._turn is request.job:
                self._turn = None
            self._changed.notify()
        return request.wait()

    def end_turn(self, job: Job[Any]) -> None:
        """Say that the job has ended."""
        with self._changed:
            if self._turn is job:
                self._turn = None
                self._changed.notify()

    def withdraw(self, job: Job[Any]) -> None:
        """Wake a canceled job that waits for an answer."""
        with self._changed:
            withdrawn = [request for request in self._pending if request.job is job]
            self._pending = [request for request in self._pending if request.job is not job]
        for request in withdrawn:
            request.release()

    def close(self) -> None:
        """Let :meth:`run` return as soon as nobody waits for an answer."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    # The network's side.

    @torch.inference_mode()
    def run(self) -> None:
        """Answer requests until :meth:`close`."""
        while self._answer_some():
            pass

    def _answer_some(self) -> bool:
        """Answer what can be answered together; False when the scheduler is closed and nobody waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            if not self._pending:
                return False
            chosen = choose(self._pending)
            self._pending = [request for request in self._pending if request not in chosen]
        self._settle(chosen)
        for request in chosen:
            self._give_turn(request)
        return True

    def _settle(self, requests: Sequence[Request]) -> None:
        """Answer all, or say what went wrong: where they fail together, each is tried alone."""
        try:
            for request, answer in zip(requests, self._answer(requests), strict=True):
                request.answer = answer
        except Exception as error:
            if len(requests) == 1:
                requests[0].error = error
                return
            for request in requests:
                self._settle([request])

    def _give_turn(self, request: Request) -> None:
        with self._changed:
            self._turn = request.job
            request.release()
            self._changed.wait_for(lambda: self._turn is None, PATIENCE)
            self._turn = None


def choose(pending: Sequence[Request]) -> list[Request]:
    """Which requests are answered next.

    Small ones come first: they let jobs catch up with others before the pass that they will share. Of passes the largest
    comes first, since those who wait for another kind are likely to meet again; no request is passed over twice for it.
    """
    small = [request for request in pending if not request.is_pass]
    if small:
        return [request for request in small if request.key == small[0].key]
    groups = [part for group in by_key(pending) for part in split_by_width(group)]
    chosen = max(groups, key=_urgency)
    for request in pending:
        if request not in chosen:
            request.passed_over += 1
    return chosen


def _urgency(group: Sequence[Request]) -> tuple[int, int]:
    """How often one of the group was passed over, then the positions of all."""
    return max(request.passed_over for request in group), sum(r.rows * r.width for r in group)


def by_key(requests: Sequence[Request]) -> list[list[Request]]:
    """The requests of each key."""
    groups: dict[Hashable, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.key, []).append(request)
    return list(groups.values())


def split_by_width(requests: Sequence[Request]) -> list[list[Request]]:
    """Requests of one key as groups in which padding costs less than a pass of its own."""
    groups: list[list[Request]] = []
    for request in sorted(requests, key=lambda request: request.width):
        rows = sum(other.rows for other in groups[-1]) if groups else 0
        if groups and rows * (request.width - groups[-1][-1].width) <= PASS_POSITIONS:
            groups[-1].append(request)
        else:
            groups.append([request])
    return groups
