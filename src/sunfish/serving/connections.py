"""HTTP connections with time limits: for the head of a request to arrive, and for a response to be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sunfish.serving.limits import Limits


class LimitedConnection(H11Protocol):
    """A connection of uvicorn, which itself limits nothing but the pause between two requests."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        """``limits``: ``head_seconds`` and ``unread_seconds``; the rest is for uvicorn."""
        super().__init__(*args, **kwargs)
        self._head = _Timer(self.loop, limits.head_seconds, self._abort)
        self._unread = _Timer(self.loop, limits.unread_seconds, self._abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the head of the first request."""
        super().connection_made(transport)
        self._head.start()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, however often a part of it comes."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._head.start()
        else:
            self._head.stop()

    def pause_writing(self) -> None:
        """Wait for a client that has read too little of its answer."""
        super().pause_writing()
        self._unread.start()

    def resume_writing(self) -> None:
        """Stop waiting: it has read more."""
        super().resume_writing()
        self._unread.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._head.stop()
        self._unread.stop()

    def _abort(self) -> None:
        self.transport.abort()


class _Timer:
    """Calls ``act`` some seconds after the first :meth:`start`, unless it is stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, act: Callable[[], None]) -> None:
        self._loop, self._seconds, self._act = loop, seconds, act
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        if self._handle is None:
            self._handle = self._loop.call_later(self._seconds, self._act)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
