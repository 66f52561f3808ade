"""Answers of jobs: read together, as server-sent events or as a whole, for as long as the client waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Generic, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.engine import Engine
from sunfish.serving.errors import api_error

T = TypeVar("T")
DONE = "data: [DONE]\n\n"


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class JobGroup(Generic[T]):
    """The jobs of one request: all are submitted or none, they are read together, and end together."""

    def __init__(self, engine: Engine, tasks: Sequence[Callable[[Pipeline], Any]]) -> None:
        """Submit ``tasks``.

        Raises:
            QueueFullError: There is no room for all of them.
            DrainingError: The engine takes no more jobs.
        """
        self.jobs: list[Any] = []
        try:
            for task in tasks:
                self.jobs.append(engine.submit(task))
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """End what has not ended."""
        for job in self.jobs:
            job.cancel()

    async def items(self) -> AsyncGenerator[tuple[int, T], None]:
        """What the jobs yield, as it comes, with the number of the job; at the end, whatever ends it, all are canceled.

        Raises:
            Exception: What a job raised.
        """
        queue: asyncio.Queue[tuple[int, T] | Exception | None] = asyncio.Queue()

        async def read(number: int, job: Any) -> None:
            try:
                async for item in job.events():
                    queue.put_nowait((number, item))
                queue.put_nowait(None)
            except Exception as error:
                queue.put_nowait(error)

        readers = [asyncio.create_task(read(*pair)) for pair in enumerate(self.jobs)]
        try:
            left = len(readers)
            while left:
                item = await queue.get()
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    left -= 1
                else:
                    yield item
        finally:
            self.cancel()
            for reader in readers:
                reader.cancel()

    async def all(self) -> list[list[T]]:
        """Everything that each job yields."""
        results: list[list[T]] = [[] for _ in self.jobs]
        async with aclosing(self.items()) as items:
            async for number, item in items:
                results[number].append(item)
        return results


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The result of ``work``, which is canceled when the client leaves.

    Raises:
        ClientGone: It has left.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        gone.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event(content: dict[str, Any]) -> str:
    """A server-sent event with JSON."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


class EventStream(Response):
    """Server-sent events; an error in the middle becomes the last one."""

    media_type = "text/event-stream"

    def __init__(self, first: str, events: AsyncGenerator[str, None], deadline: float) -> None:
        """Prepare; what goes wrong before the first event has a status of its own.

        Args:
            first: The first event.
            events: Those that follow it.
            deadline: When all must have been sent, in the time of the event loop.
        """
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.first, self.events, self.deadline = first, events, deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events."""
        with suppress(ClientGone):
            await while_connected(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        async def send_body(text: str, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": more})

        last = DONE
        async with aclosing(self.events) as events:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async with asyncio.timeout_at(self.deadline):
                    await send_body(self.first)
                    async for text in events:
                        await send_body(text)
            except Exception as error:
                last = event(api_error(error).body)
        await send_body(last, more=False)
