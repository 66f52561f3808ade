"""Errors in OpenAI's shape: what went wrong, the field to blame, and the status that says whose fault it is."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sunfish.config.rules import shown
from sunfish.serving.engine import DrainingError, QueueFullError
from sunfish.serving.job import JobCanceled
from sunfish.utils import UsageError, log

TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
CODES = {401: "invalid_api_key", 413: "request_too_large", 429: "rate_limit_exceeded", 503: "overloaded"}
LONGEST = 400  # characters of a message
DRAIN_SECONDS = 30  # after which another process has probably taken over


class ApiError(Exception):
    """A response that is not a success.

    Attributes:
        status: Of HTTP.
        message: One line: the thing, its value, the remedy.
        param: The field to blame.
        code: By which programs tell errors apart.
        headers: Of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, " ".join(message.split())[:LONGEST], param
        self.code, self.headers = code or CODES.get(status), dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the response."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The response. ASCII, since a client may have named a field with a lone surrogate."""
        return Response(json.dumps(self.body), self.status, self.headers, "application/json")


def api_error(error: BaseException, fields: Iterable[str] = ()) -> ApiError:
    """What a client is told of ``error``; ``fields`` are those that it may be about."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UsageError):
        words = str(error).removeprefix("the ").split(maxsplit=1)
        name = words[0].partition("[")[0] if words else ""
        return ApiError(400, str(error), param=name if name in set(fields) else None)
    if isinstance(error, QueueFullError):
        return ApiError(429, str(error), headers={"Retry-After": str(math.ceil(error.retry_after))})
    if isinstance(error, (DrainingError, JobCanceled)):  # only a closing engine cancels awaited jobs
        message = "the server is shutting down; ask another one, or later"
        return ApiError(503, message, headers={"Retry-After": str(DRAIN_SECONDS)})
    if isinstance(error, TimeoutError):
        return ApiError(504, "the answer took longer than this server allows; ask for less", code="timeout")
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _http_message(error), headers=error.headers)
    return _unforeseen(error)


def _http_message(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is nothing at this path; see /openapi.json for what there is"
    if error.status_code == 400:
        return "the body is no JSON that can be read; send one object"
    return f"{error.detail}; see /openapi.json for what there is"


def _unforeseen(error: BaseException) -> ApiError:
    """A failure that is not the client's: its place goes to the log, and no client learns it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    log(f"error: {type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}{place}")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ApiError(503, "there is not enough memory for this now; ask for less, or later")
    return ApiError(500, "the server failed, which is not your request's fault; its log says why")


def validation_error(error: RequestValidationError) -> ApiError:
    """The first thing that is wrong with a body."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "the body is no JSON that can be read; send one object")
    param, value = _path(first["loc"][1:]), shown(first.get("input"))
    if first["type"] == "extra_forbidden":
        name = shown(param)[1:-1]
        return ApiError(400, f"{name} is not supported here; leave it out", param=param, code="unsupported")
    if not param:
        return ApiError(
            400, "the body is no JSON object; send one of text, with Content-Type: application/json"
        )
    if first["type"] == "missing":
        return ApiError(400, f"{param} is missing; give it", param=param)
    reason = first["msg"].replace("Input should be", "it should be")
    return ApiError(400, f"{param} is {value}, but {reason[:1].lower()}{reason[1:]}", param=param)


def _path(location: Sequence[Any]) -> str:
    """``messages[0].role``; the names of types, which stand in it where a field has several, are left out."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part not in ("str", "bool", "int") and "[" not in part:
            path += f".{part}" if path else part
    return path


async def on_error(request: Request, error: Exception) -> Response:
    """FastAPI's handler of what it raises itself."""
    if isinstance(error, RequestValidationError):
        return validation_error(error).response()
    return api_error(error).response()


class AnswerErrors:
    """Answers with what a route raised, unless its response has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            fields = scope.get("state", {}).get("fields", ())
            await api_error(error, fields).response()(scope, receive, send)
