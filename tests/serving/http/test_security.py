"""Who is let in: tokens, hosts, origins, bodies."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.limits import Limits
from sunfish.serving.security import Guard, host_of, is_loopback
from sunfish.serving.server import check_reach, find_token, open_socket, server_of
from sunfish.serving.service import Service
from sunfish.utils import UsageError
from tests.serving.http.conftest import Json, Serve

URL = "/v1/completions"
TOKEN = "abcdefghij0123456789"
BODY = {"prompt": "a", "max_tokens": 1}


@pytest.mark.parametrize(
    "host,own",
    [
        ("localhost", True), ("LOCALHOST", True), ("app.localhost", True), ("127.0.0.1", True), ("127.8.8.8", True),
        ("::1", True), ("[::1]", True), ("localhost.", True), ("0.0.0.0", False), ("192.168.0.2", False),
        ("example.com", False), ("localhost.example.com", False), ("127.0.0.1.nip.io", False), ("", False),
        ("::", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_which_hosts_are_this_machine_to_itself(host: str, own: bool) -> None:
    assert is_loopback(host) == own


@pytest.mark.parametrize(
    "authority,host",
    [("localhost:80", "localhost"), ("[::1]:80", "::1"), ("a@b:1", "b"), ("", ""), ("[", ""), ("x:y:z", "x")],
)
def test_the_host_of_a_header(authority: str, host: str) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000"])
def test_this_machine_is_answered(client: TestClient, host: str) -> None:
    assert client.post(URL, json=BODY, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "192.168.0.2", "localhost.evil.example"]
)
@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/metrics", "/openapi.json"])
def test_a_name_that_was_bent_to_this_machine_is_not(client: TestClient, host: str, path: str) -> None:
    response = client.get(path, headers={"Host": host})
    assert response.status_code == 403 and response.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "file://"])
def test_pages_of_other_sites_are_not_answered(client: TestClient, origin: str) -> None:
    response = client.post(URL, json=BODY, headers={"Origin": origin})
    assert response.status_code == 403 and response.json()["error"]["code"] == "origin_not_allowed"
    assert client.post(URL, json=BODY, headers={"Origin": "http://localhost:5173"}).status_code == 200


def test_no_browser_is_told_that_it_may_ask(client: TestClient) -> None:
    headers = {"Origin": "http://localhost:1", "Access-Control-Request-Method": "POST"}
    response = client.options(URL, headers=headers)
    assert response.status_code == 405
    for answer in (response, client.post(URL, json=BODY, headers={"Origin": "http://localhost:1"})):
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN],
)
def test_without_the_token_nothing_is_answered(serve: Serve, header: str | None) -> None:
    client = serve(token=TOKEN)
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("POST", URL), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/openapi.json")):
        response = client.request(method, path, headers=headers)
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"]["code"] == "invalid_api_key" and TOKEN not in response.text
    assert client.get("/healthz", headers=headers).json() == {"status": "ok"}


def test_with_the_token_any_host_is_answered(serve: Serve) -> None:
    client = serve(token=TOKEN)
    for name in ("Bearer", "bearer"):
        headers = {
            "Authorization": f"{name} {TOKEN}",
            "Host": "sunfish.example",
            "Origin": "https://sunfish.example",
        }
        assert client.post(URL, json=BODY, headers=headers).status_code == 200
    odd = {"Authorization": b"Bearer \xff\xfe"}
    assert client.get("/v1/models", headers=odd).status_code == 401  # type: ignore[arg-type]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(serve: Serve, chunked: bool) -> None:
    """By its length where it is told, else as soon as it has come."""
    client = serve(limits=Limits(body_bytes=100))
    body = json.dumps({"prompt": "a" * 100}).encode()
    content: Any = (body[i : i + 10] for i in range(0, len(body), 10)) if chunked else body
    response = client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    error = response.json()["error"]
    assert error["code"] == "request_too_large" and "more than the 100 bytes" in error["message"]
    fits = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    assert client.post(URL, content=fits, headers={"Content-Type": "application/json"}).status_code == 200


def test_a_body_may_come_in_pieces(client: TestClient) -> None:
    body = json.dumps({"prompt": "a", "max_tokens": 1, "seed": 5}).encode()
    pieces = (body[i : i + 7] for i in range(0, len(body), 7))
    answers = [
        client.post(URL, content=content, headers={"Content-Type": "application/json"})
        for content in (body, pieces)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["choices"] == answers[1].json()["choices"]


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"abc", b"de"], None),
        ([b"abc", None, b"de"], None),  # a message need not have a body
        ([b"abcde", b""], None),
        ([b"abc", b"def"], 413),
        ([b"abcdef", b"", b""], 413),
    ],
)
def test_a_body_of_several_messages(pieces: list[bytes | None], status: int | None) -> None:
    """The application gets one message with all of it, then whatever the server says; too much is refused at once."""
    messages: list[Json] = [{"type": "http.request", "more_body": True, "body": piece} for piece in pieces]
    for message in messages:
        if message["body"] is None:
            del message["body"]
    del messages[-1]["more_body"]
    messages.append({"type": "http.disconnect"})
    got: list[Json] = []
    sent: list[Json] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        got.extend([await receive(), await receive()])

    async def arrives() -> Json:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": URL, "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(application, None, Limits(body_bytes=5))(scope, arrives, send))
    if status is None:
        whole = {"type": "http.request", "body": b"abcde", "more_body": False}
        assert got == [whole, {"type": "http.disconnect"}] and sent == []
    else:
        assert got == [] and sent[0]["status"] == status and b"more than the 5 bytes" in sent[1]["body"]


def test_a_body_that_does_not_come() -> None:
    """It is not waited for, and whoever leaves meanwhile gets no answer."""
    sent: list[Json] = []

    async def never(*_: object) -> None:
        pytest.fail("an unfinished request reached the application")

    async def stalls() -> Json:
        await asyncio.sleep(60)
        return {}

    async def leaves() -> Json:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": URL, "headers": [(b"host", b"localhost")]}
    guard = Guard(never, None, Limits(body_seconds=0.01))
    asyncio.run(guard(scope, stalls, send))
    assert sent[0]["status"] == 408 and b"had not arrived after 0.01 s" in sent[1]["body"]
    sent.clear()
    asyncio.run(guard(scope, leaves, send))
    assert sent == []


def test_other_machines_are_answered_with_a_token_only() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.2", "example.com"):
        with pytest.raises(UsageError, match="which other machines reach; give a token with --token-file"):
            check_reach(host, None)
        check_reach(host, TOKEN)
    for host in ("127.0.0.1", "::1", "localhost"):
        check_reach(host, None)


def test_where_the_token_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert find_token(file, "other-token-of-some-length") == TOKEN
    assert find_token(None, f" {TOKEN} ") == TOKEN
    assert find_token(None, None) is None
    for wrong in ("", "short", "with a space inside it", "ünfit-for-a-header-of-http"):
        file.write_text(wrong)
        with pytest.raises(UsageError, match=r"--token-file .*token holds no token of at least 16"):
            find_token(file, None)
        with pytest.raises(UsageError, match="SUNFISH_TOKEN holds no token"):
            find_token(None, wrong)


def test_a_socket_that_cannot_be_had() -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port is {port}, which another program uses"):
            open_socket("127.0.0.1", port)
    with pytest.raises(UsageError, match=r"host is '203.0.113.9', which is no address of this machine"):
        open_socket("203.0.113.9", 0)
    with pytest.raises(UsageError, match="port is 70000; give a number from 0"):
        open_socket("127.0.0.1", 70000)


def test_a_port_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(UsageError, match=r"^port is 80, which this user may not use; give one above 1023$"):
        open_socket("127.0.0.1", 80)


def test_a_header_does_not_say_where_a_request_comes_from(pipeline: Pipeline) -> None:
    """Neither is the server's own name told."""
    config = server_of(Service(pipeline, "drawn")).config
    assert (config.proxy_headers, config.server_header, config.access_log) == (False, False, False)
