"""Responses as OpenAI's clients read them, with the fields of SunFish added."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorContent(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """The body of every response that is not a success."""

    error: ErrorContent


class Usage(BaseModel):
    """Tokens, end marks not counted; all drafts of best_of are."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Steps(BaseModel):
    """Where step_maps is asked for."""

    step_maps: list[int] = Field(
        [], description="Of each token, the step at which it took its value, from 1."
    )
    tokens: list[str] = Field([], description="The text of each token.")


class CompletionLogprobs(BaseModel):
    """Exact log-probabilities of the tokens, in nats."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Steps):
    """A text; of a gap between prompt and suffix, its fill."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: CompletionLogprobs | None = None
    fills: list[str] = Field([], description="Of a text with gaps: what stands in each.")
    log_likelihood: float | None = Field(
        None, description="Of a text with gaps: of all of it, exact, in nats."
    )
    effective_sample_size: float | None = Field(
        None, description="Of a text with gaps: how many independent draws would be as sure."
    )


class Completion(BaseModel):
    """Texts."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    seed: int = Field(description="Asked for, or drawn: with it the same request gives the same texts.")
    choices: list[CompletionChoice]
    usage: Usage


class TopLogprob(BaseModel):
    """A token that might have stood there."""

    token: str
    logprob: float
    bytes: list[int] | None = Field(description="null where the token is no whole characters.")


class ChatLogprob(TopLogprob):
    """A token, and the likeliest in its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """Exact log-probabilities of the tokens, in nats."""

    content: list[ChatLogprob]
    refusal: None = None


class ChatMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(Steps):
    """A text."""

    index: int
    message: ChatMessage
    finish_reason: Literal["stop", "length"]
    logprobs: ChatLogprobs | None = None


class ChatCompletion(BaseModel):
    """Texts that answer a message."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    seed: int = Field(description="Asked for, or drawn: with it the same request gives the same texts.")
    choices: list[ChatChoice]
    usage: Usage


class Alternative(BaseModel):
    """A text with other words in the place of some."""

    index: int
    text: str
    fills: list[str] = Field(description="The new words of each span.")
    tokens: int = Field(description="Of the whole text.")
    log_likelihood: float = Field(description="Of the whole text, given the prompt, exact, in nats.")
    effective_sample_size: float = Field(description="How many independent draws would be as sure.")


class Rewriting(BaseModel):
    """Different texts, the likeliest first."""

    id: str
    object: Literal["rewriting"]
    created: int
    model: str
    seed: int = Field(description="Asked for, or drawn: with it the same request gives the same texts.")
    choices: list[Alternative]


class Model(BaseModel):
    """What is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: int = Field(description="Tokens that the model sees at a time, the start mark included.")
    prompt_length: int = Field(description="Tokens of a prompt at the most.")
    samplers: list[str]
    settings: dict[str, Any] = Field(description="How it writes where a request does not say otherwise.")


class ModelList(BaseModel):
    """All that is served."""

    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"]


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """:class:`Usage`."""
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}


def error_responses() -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of failures."""
    return {
        "4XX": {"model": ErrorResponse, "description": "The request is wrong, or asks for too much."},
        "5XX": {"model": ErrorResponse, "description": "The server failed, or is overloaded."},
    }
