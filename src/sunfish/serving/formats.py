"""The two shapes of a written text, that of completions and that of chats: whole, and chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sunfish.sampling.infilling import CUT_CHARACTER
from sunfish.serving.writing import Chunk, ScoredToken, Written


class Format(Protocol):
    """How an endpoint formats a text."""

    id_prefix: str
    object: str
    chunk_object: str

    def choice(self, index: int, written: Written, scored: list[ScoredToken] | None) -> dict[str, Any]:
        """A whole text."""
        ...

    def opening(self, index: int) -> dict[str, Any] | None:
        """What comes before the first chunk of a text."""
        ...

    def chunk(self, index: int, chunk: Chunk) -> dict[str, Any]:
        """A part of a text."""
        ...


class CompletionFormat:
    """``/v1/completions``."""

    id_prefix, object, chunk_object = "cmpl", "text_completion", "text_completion"

    def choice(self, index: int, written: Written, scored: list[ScoredToken] | None) -> dict[str, Any]:
        """A whole text."""
        return {
            "index": index,
            "text": written.text,
            "finish_reason": finish_reason(written),
            "logprobs": completion_logprobs(scored),
        }

    def opening(self, index: int) -> None:
        """Nothing."""

    def chunk(self, index: int, chunk: Chunk) -> dict[str, Any]:
        """A part of a text."""
        return {
            "index": index,
            "text": chunk.text,
            "finish_reason": finish_reason(chunk.written),
            "logprobs": completion_logprobs(chunk.scored),
        }


class ChatFormat:
    """``/v1/chat/completions``."""

    id_prefix, object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, index: int, written: Written, scored: list[ScoredToken] | None) -> dict[str, Any]:
        """A whole text."""
        return {
            "index": index,
            "message": {"role": "assistant", "content": written.text, "refusal": None},
            "finish_reason": finish_reason(written),
            "logprobs": chat_logprobs(scored),
        }

    def opening(self, index: int) -> dict[str, Any]:
        """The role."""
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}

    def chunk(self, index: int, chunk: Chunk) -> dict[str, Any]:
        """A part of a text."""
        return {
            "index": index,
            "delta": {"content": chunk.text},
            "finish_reason": finish_reason(chunk.written),
            "logprobs": chat_logprobs(chunk.scored),
        }


def finish_reason(written: Written | None) -> str | None:
    """How a text has ended; None: it is still being written."""
    return None if written is None else end_of(written.finished)


def end_of(finished: bool) -> str:
    """Whether a text has reached its end, or a stop string, or was cut."""
    return "stop" if finished else "length"


def completion_logprobs(scored: Sequence[ScoredToken] | None) -> dict[str, Any] | None:
    """As completions have them."""
    if scored is None:
        return None
    return {
        "tokens": [token.text for token in scored],
        "token_logprobs": [token.logprob for token in scored],
        # Several tokens may look the same where they are no whole characters; the likeliest stays.
        "top_logprobs": [dict(reversed(token.top)) for token in scored],
        "text_offset": [token.offset for token in scored],
    }


def chat_logprobs(scored: Sequence[ScoredToken] | None) -> dict[str, Any] | None:
    """As chats have them."""
    if scored is None:
        return None

    def named(text: str, logprob: float) -> dict[str, Any]:
        known = None if CUT_CHARACTER in text else list(text.encode())
        return {"token": text, "logprob": logprob, "bytes": known}

    content = [
        {**named(token.text, token.logprob), "top_logprobs": [named(*other) for other in token.top]}
        for token in scored
    ]
    return {"content": content, "refusal": None}


def step_maps(written: Written) -> dict[str, Any]:
    """The step of each token, and its text."""
    return {"step_maps": written.steps, "tokens": written.pieces}
