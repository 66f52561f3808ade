"""Owns what the headers of an answer say: how long to wait, how large a file is, and what it holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2 as httpx

RATE_LIMIT_SECONDS = 60.0  # where the hub does not say how long
_RESET = re.compile(r"\bt=(\d+)")  # seconds until a limit starts anew, in the header RateLimit
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_TOTAL = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)")


def seconds_of_limit(response: httpx.Response) -> float:
    """How long the hub asks to wait."""
    after = response.headers.get("Retry-After", "")
    reset = _RESET.search(response.headers.get("RateLimit", ""))
    return float(after) if after.isdecimal() else float(reset[1]) if reset else RATE_LIMIT_SECONDS


def total_size(response: httpx.Response) -> int | None:
    """Bytes of the whole file, where the answer says it."""
    if response.status_code == 206:
        total = _TOTAL.fullmatch(response.headers.get("Content-Range", ""))
        return int(total[1]) if total else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None


def file_etag(response: httpx.Response) -> str | None:
    """The hash by which the hub names the content of a file; None where the answer has none."""
    chain = (*response.history, response)
    linked = [answer.headers["X-Linked-Etag"] for answer in chain if "X-Linked-Etag" in answer.headers]
    # The tags of another host, to which a request was sent on, are its own.
    tags = linked or ([] if response.history else [response.headers.get("ETag", "")])
    match = _HASH.search(tags[0]) if tags else None
    return match[0] if match else None
