"""Connections of a real server: who sends no request, or reads no answer, is hung up on; others are not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import sunfish.serving.writing as writing_module
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.limits import Limits
from sunfish.serving.server import open_socket, server_of
from sunfish.serving.service import Service

BODY = b'{"prompt": "a dog", "stream": true}'
STREAM = (
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
LIMITS = Limits(head_seconds=0.3, unread_seconds=0.3)
PATIENCE = 20.0  # seconds after which a test fails


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    """A connection to a server of ``service``."""
    with open_socket("127.0.0.1", 0) as listener:
        server = server_of(service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), PATIENCE) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def closed(client: socket.socket) -> bool:
    """Whether the server hangs up, at once or soon; what it sends before is read."""
    try:
        while client.recv(2**16):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_a_client_that_sends_nothing_is_hung_up_on(pipeline: Pipeline) -> None:
    with connected(Service(pipeline, "drawn", limits=LIMITS)) as client:
        assert closed(client)


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(pipeline: Pipeline) -> None:
    """However long each part stays away: all of the head has to come in time."""
    with connected(Service(pipeline, "drawn", limits=LIMITS)) as client, pytest.raises(ConnectionError):
        for _ in range(200):  # 20 seconds, far beyond the limit
            client.sendall(b"G")
            time.sleep(0.1)


def test_an_answer_takes_as_long_as_it_takes(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is one of the head alone, and the next head of the same connection has it again."""

    def slow(self: writing_module.TextTask, pipeline: Pipeline) -> Iterator[writing_module.Chunk]:
        time.sleep(1.5)
        yield writing_module.Chunk("", None, 0, writing_module.Written("late", True, 1, 1, [], []))

    monkeypatch.setattr(writing_module.TextTask, "__call__", slow)
    with connected(Service(pipeline, "drawn", limits=Limits(head_seconds=0.7))) as client:
        client.sendall(STREAM.replace(b"true", b"null"))
        answer = b""
        while not answer.endswith(b"}"):
            answer += client.recv(2**16) or b"the connection was closed}"
        assert answer.startswith(b"HTTP/1.1 200") and b"late" in answer
        client.sendall(STREAM[:9])
        assert closed(client)


def test_a_client_that_does_not_read_is_hung_up_on(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its work is canceled, though the connection stays open on its side."""

    def flood(self: writing_module.TextTask, pipeline: Pipeline) -> Iterator[writing_module.Chunk]:
        for _ in range(20):  # more than the system keeps for a client
            yield writing_module.Chunk("a" * 2**20, None, 0)
        while True:
            for _ in pipeline.states("a dog", seq_len=4):
                pass

    monkeypatch.setattr(writing_module.TextTask, "__call__", flood)
    service = Service(pipeline, "drawn", limits=LIMITS)
    with connected(service) as client:
        client.sendall(STREAM)
        deadline = time.monotonic() + PATIENCE
        while not service.engine.stats().canceled and time.monotonic() < deadline:
            time.sleep(0.01)
        assert service.engine.stats().canceled == 1
