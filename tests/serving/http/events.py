"""Server-sent events as a client reads them."""

from __future__ import annotations

import json
from typing import Any

from httpx2 import Response


def events(response: Response) -> list[dict[str, Any]]:
    """The JSON of every event but the last, which says that all is done."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = response.text.split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""]
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


def joined(chunks: list[dict[str, Any]], index: int = 0) -> str:
    """The text of a choice, chunk by chunk."""
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["text"] if "text" in choice else choice["delta"]["content"] for choice in choices)
