"""Requests: every field that is understood, and no other. A field that is null has its default."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from sunfish.config import GenerationConfig
from sunfish.config.helps import field_helps
from sunfish.config.rules import MAX_INT
from sunfish.sampling.editing import MOST_ALTERNATIVES

MAX_LOGPROBS = 20  # likeliest tokens that are named at each place
HELP = field_helps(GenerationConfig)
GENERATION = tuple(field.name for field in fields(GenerationConfig))
# Fields of OpenAI's API that are not supported: accepted with a value that asks for nothing, as null always does.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "metadata": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "prompt_cache_key": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "safety_identifier": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "user": (),
    "verbosity": (),
    "web_search_options": (),
}
# What OpenAI's clients put beside the content of an answer that is sent back as part of a conversation.
NEUTRAL_OF_MESSAGE: dict[str, tuple[Any, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "refusal": (),
    "tool_calls": ([],),
}


def without_neutral(data: Any, neutral: dict[str, tuple[Any, ...]]) -> Any:
    """``data`` without the fields in ``neutral`` that ask for nothing; the others are then refused by name."""
    if not isinstance(data, dict):
        return data
    return {
        name: value
        for name, value in data.items()
        if name not in neutral or not (value is None or value in neutral[name])
    }


class Strictly(BaseModel):
    """No field that is not known, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class DrawingRequest(Strictly):
    """How tokens are drawn; null: the value of the checkpoint."""

    model: str | None = Field(None, description="A name from /v1/models; there is one.")
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_INT,
        description="The same seed gives the same text; without one, the answer names it.",
    )
    temperature: float | None = Field(None, description=HELP["temperature"])
    top_p: float | None = Field(None, description=HELP["top_p"])
    top_k: int | None = Field(None, description=HELP["top_k"])
    min_p: float | None = Field(None, description=HELP["min_p"])
    repetition_penalty: float | None = Field(None, description=HELP["repetition_penalty"])
    guidance_scale: float | None = Field(None, description=HELP["guidance_scale"])
    plausibility: float | None = Field(None, description=HELP["plausibility"])
    negative_prompt: str | None = Field(None, description=HELP["negative_prompt"])
    composed_prompts: list[Annotated[tuple[str, float], Strict(False)]] | None = Field(
        None, description="Further prompts with their weights; the first prompt's weight is 1."
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, data: Any) -> Any:
        return without_neutral(data, NEUTRAL)

    def given(self) -> dict[str, Any]:
        """The settings of sampling that were given."""
        values = {name: getattr(self, name, None) for name in GENERATION}
        return {name: value for name, value in values.items() if value is not None}


class StreamOptions(Strictly):
    """Of a stream."""

    include_usage: bool | None = Field(None, description="Send a last chunk with the usage.")
    include_obfuscation: Literal[False] | None = None


class TextRequest(DrawingRequest):
    """What writing after a prompt and answering a message share."""

    sampler: str | None = Field(None, description=HELP["sampler"])
    num_steps: int | None = Field(None, description=HELP["num_steps"])
    block_length: int | None = Field(None, description=HELP["block_length"])
    lenience: float | None = Field(None, description=HELP["lenience"])
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="Of a text, or of each gap, at the most; null: as many as the model sees at a time.",
    )
    n: int | None = Field(None, ge=1, description="Texts for each prompt.")
    best_of: int | None = Field(
        None, ge=1, description="Draft so many texts for each prompt, and keep the n that answer it best."
    )
    stop: str | list[str] | None = Field(None, description="A text ends before the first of these.")
    stream: bool | None = Field(None, description="Send what is settled as it comes, as server-sent events.")
    stream_options: StreamOptions | None = None
    diffusing: bool | None = Field(
        None, description="With stream: send every denoising state, each as the whole current text."
    )
    step_maps: bool | None = Field(
        None, description="Say at which step each token took its value, and what its text is."
    )

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class CompletionRequest(TextRequest):
    """A text about a prompt; with ``suffix`` or ``text``, a text whose gaps are filled."""

    prompt: str | list[str] | None = Field(
        None,
        description="What the text is about, or several such. With suffix: the text on the left of the gap.",
    )
    suffix: str | None = Field(None, description="The text on the right of a gap that follows prompt.")
    about: str | None = Field(None, description="With suffix: what the text is about.")
    text: str | None = Field(
        None, description="A text with gaps: [MASK], [MASK:5] for five tokens, [MASK:2-12]."
    )
    num_particles: int | None = Field(
        None,
        ge=1,
        description="Of gaps: fills that are compared; more are nearer to the posterior, and slower.",
    )
    logprobs: int | None = Field(
        None,
        ge=0,
        le=MAX_LOGPROBS,
        description="Exact log-probabilities, with so many of the likeliest tokens.",
    )


class TextPart(Strictly):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Strictly):
    """Of a conversation."""

    role: Literal["user", "assistant"]
    content: str | list[TextPart]

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, data: Any) -> Any:
        return without_neutral(data, NEUTRAL_OF_MESSAGE)

    @property
    def words(self) -> str:
        """What it says."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatRequest(TextRequest):
    """A text about the last message, which is the user's. The model remembers no conversation: no other is read."""

    messages: list[Message] = Field(min_length=1, description="The last one is what the text is about.")
    max_completion_tokens: int | None = Field(None, ge=1, description="The same as max_tokens.")
    logprobs: bool | None = Field(None, description="Exact log-probabilities.")
    top_logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="So many of the likeliest tokens with them."
    )


Span: TypeAlias = Annotated[tuple[int, int], Strict(False)]


class RewriteRequest(DrawingRequest):
    """A text of which some words are written anew."""

    text: str = Field(description="The text.")
    spans: list[Span] | None = Field(
        None, description="Characters that are written anew: [start, end], counted from 0, end left out."
    )
    replace: list[str] | None = Field(None, description="Words of the text that are written anew.")
    prompt: str | None = Field(None, description="What the new words answer to.")
    n: int | None = Field(
        None, ge=1, le=MOST_ALTERNATIVES, description="Different texts, the likeliest first."
    )
    num_particles: int | None = Field(
        None, ge=1, description="Texts that are compared; more are nearer to the posterior, and slower."
    )
