"""A job of the engine: what it yields, how it ends, how it is canceled."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from sunfish.sampling.pipeline import Pipeline

T = TypeVar("T")


class JobCanceled(Exception):
    """Somebody canceled this job; raised inside its work and to its reader."""

    def __init__(self) -> None:
        super().__init__("the job was canceled")


class Job(Generic[T]):
    """Work that the engine does, and what it has yielded so far. One reader takes each item once."""

    def __init__(self, work: Callable[[Pipeline], Iterator[T]], on_cancel: Callable[[Job[T]], None]) -> None:
        """``on_cancel`` hears of the first :meth:`cancel` before the end."""
        self.work = work
        self._on_cancel = on_cancel
        self._changed = threading.Condition()
        self._items: deque[T] = deque()
        self._canceled = self._done = False
        self._error: BaseException | None = None
        self._listeners: list[Callable[[], None]] = []

    # The reader's side.

    def __iter__(self) -> Iterator[T]:
        """Every item as it comes; blocks until the job ends.

        Raises:
            BaseException: What the work raised; JobCanceled where it was canceled.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._done)
                items = self._take()
            yield from items
            if not items:
                return

    async def events(self) -> AsyncIterator[T]:
        """Every item as it comes, for asyncio; raises like :meth:`__iter__`."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(changed.set)

        self.add_listener(wake)
        try:
            while True:
                changed.clear()
                with self._changed:
                    items, done = self._take(), self._done
                for item in items:
                    yield item
                if not items and done:
                    return
                if not items:
                    await changed.wait()
        finally:
            self.remove_listener(wake)

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener``, in the job's thread, after each item and at the end."""
        with self._changed:
            self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        """Undo :meth:`add_listener`."""
        with self._changed:
            self._listeners.remove(listener)

    def cancel(self) -> None:
        """End the job: at once where it waits, at its next pass where it runs. No effect after its end."""
        with self._changed:
            if self._done or self._canceled:
                return
            self._canceled = True
        self._on_cancel(self)

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or not."""
        return self._done

    @property
    def canceled(self) -> bool:
        """Whether :meth:`cancel` came before the end."""
        return self._canceled

    def _take(self) -> list[T]:
        """The next item, if there is one; after the last one, what the work raised is raised."""
        if self._items:
            return [self._items.popleft()]
        if self._error is not None:
            raise self._error
        return []

    # The engine's side.

    def check(self) -> None:
        """Raise ``JobCanceled`` after :meth:`cancel`."""
        if self._canceled:
            raise JobCanceled

    def put(self, item: T) -> None:
        """Hand an item to the reader."""
        with self._changed:
            self._items.append(item)
        self._tell()

    def finish(self, error: BaseException | None = None) -> None:
        """Say that nothing more will come."""
        with self._changed:
            self._error, self._done = error, True
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()
