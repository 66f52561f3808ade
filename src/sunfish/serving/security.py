"""Who may ask, and how much at once: the token, the host and the origin of a request, and the size of its body."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sunfish.config.rules import shown
from sunfish.serving.errors import ApiError
from sunfish.serving.limits import Limits
from sunfish.serving.pages import is_page

OPEN_PATHS = ("/healthz",)  # for programs that watch over others: they say nothing of what is served


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine to itself."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def host_of(authority: str) -> str:
    """The host of ``HOST:PORT``; empty if it is malformed."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


def check_host(headers: Mapping[str, str]) -> None:
    """Refuse what a page of another site asks of this machine through its reader's browser.

    Without a token, ``Host`` must name this machine; a name that DNS rebinding leads here does not. So must ``Origin``,
    since a browser lets any page post a form or plain text without a preflight request.

    Raises:
        ApiError: 403.
    """
    host = host_of(headers.get("host", ""))
    if not is_loopback(host):
        raise ApiError(
            403,
            f"the host is {shown(headers.get('host', ''))}, but without a token this server answers to localhost alone; "
            "start it with a token",
            code="host_not_allowed",
        )
    origin = headers.get("origin")
    if origin is not None and not is_loopback(host_of(origin.partition("://")[2])):
        raise ApiError(
            403,
            f"the origin is {shown(origin)}, but pages of other sites may not ask; ask from a program",
            code="origin_not_allowed",
        )


def check_token(headers: Mapping[str, str], token: str) -> None:
    """Refuse a request without the token.

    Raises:
        ApiError: 401.
    """
    kind, _, given = headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
    if kind.lower() != "bearer" or not same:
        raise ApiError(
            401,
            "this server needs its token; send it as Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )


class Guard:
    """Refuses clients that may not ask, and bodies that are too large or too slow."""

    def __init__(self, app: ASGIApp, token: str | None, limits: Limits) -> None:
        """``token``: None where anybody on this machine may ask."""
        self.app, self.token, self.limits = app, token, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass the request on with its whole body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope["path"], Headers(scope=scope))
            body = await self._body(receive)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        if body is None:  # the client has left
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    def _check(self, path: str, headers: Headers) -> None:
        if self.token is None:
            check_host(headers)
        elif path not in OPEN_PATHS and not is_page(path):
            check_token(headers, self.token)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.limits.body_bytes:
            raise self._too_large()

    async def _body(self, receive: Receive) -> bytes | None:
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self.limits.body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            seconds = self.limits.body_seconds
            raise ApiError(408, f"the request had not arrived after {seconds:g} s; send it at once") from None

    def _too_large(self) -> ApiError:
        return ApiError(
            413, f"the request has more than the {self.limits.body_bytes:,} bytes that are allowed; send less"
        )
