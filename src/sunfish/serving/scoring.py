"""How likely a given text is, token by token: what a page shades it by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from sunfish.sampling.gaps import Gaps, encode_gaps
from sunfish.sampling.likelihood import TokenScorer
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.prompts import check_text
from sunfish.serving.answers import GONE, waited
from sunfish.serving.formats import completion_logprobs
from sunfish.serving.responses import CompletionLogprobs
from sunfish.serving.schemas import MAX_LOGPROBS, Strictly
from sunfish.serving.service import Service
from sunfish.serving.streaming import ClientGone, JobGroup
from sunfish.serving.writing import ScoredToken, score_tokens


class ScoreRequest(Strictly):
    """A text whose likelihood is asked for."""

    model: str | None = Field(None, description="A name from /v1/models; there is one.")
    text: str = Field(description="The text.")
    prompt: str | None = Field(None, description="What it is about.")
    logprobs: int | None = Field(
        None, ge=0, le=MAX_LOGPROBS, description="How many of the likeliest tokens to name at each place."
    )


class Scoring(BaseModel):
    """The likelihood of a text."""

    object: Literal["scoring"]
    model: str
    logprobs: CompletionLogprobs
    log_likelihood: float = Field(
        description="Of the whole text and its end, given the prompt, exact, in nats."
    )


class Scores(NamedTuple):
    """The tokens of a text with their log-probabilities, and that of all of it and its end."""

    tokens: list[ScoredToken]
    log_likelihood: float


@dataclass(frozen=True)
class ScoreTask:
    """The work of a request."""

    text: str
    prompt: str
    num_top: int

    def __call__(self, pipeline: Pipeline) -> Iterator[Scores]:
        """Score the text in one pass, its end in another."""
        (ids,) = encode_gaps(
            pipeline.tokenizer, Gaps([self.text], []), pipeline.model.config.context_length
        ).pieces
        scorer = TokenScorer(pipeline, self.prompt, self.num_top)
        tokens = score_tokens(pipeline, scorer, ids, 0) or []
        (end,) = scorer.score([pipeline.tokenizer.end])
        yield Scores(tokens, sum(token.logprob for token in tokens) + end.logprob)


async def answer_score(service: Service, request: Request, asked: ScoreRequest) -> Response | dict[str, Any]:
    """The likelihood of a text."""
    check_text("text", asked.text)
    (prompt,) = service.planner.checks.prompts("prompt", [asked.prompt or ""])
    task = ScoreTask(asked.text, prompt, asked.logprobs or 0)
    jobs: JobGroup[Scores] = JobGroup(service.engine, [task])
    try:
        ((scores,),) = await waited(request, jobs.all())
    except ClientGone:
        return GONE
    return {
        "object": "scoring",
        "model": service.planner.model,
        "logprobs": completion_logprobs(scores.tokens),
        "log_likelihood": scores.log_likelihood,
    }
