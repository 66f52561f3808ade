"""From a request to its response: submit the work, wait for it or stream it, format the results."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from sunfish.sampling.infilling import Infilled
from sunfish.serving.filling import Filled
from sunfish.serving.formats import Format, completion_logprobs, end_of, step_maps
from sunfish.serving.metrics import CLIENT_LEFT
from sunfish.serving.planning import TextPlan
from sunfish.serving.responses import usage
from sunfish.serving.schemas import ChatRequest, CompletionRequest, RewriteRequest
from sunfish.serving.service import Service
from sunfish.serving.streaming import ClientGone, EventStream, JobGroup, event, while_connected
from sunfish.serving.writing import Chunk, Written

T = TypeVar("T")
GONE = Response(status_code=CLIENT_LEFT)  # for the metrics; the client has left


async def answer_texts(
    service: Service, request: Request, asked: CompletionRequest | ChatRequest, form: Format
) -> Response | dict[str, Any]:
    """Texts about prompts."""
    plan = service.planner.texts(asked)
    jobs: JobGroup[Chunk] = JobGroup(service.engine, plan.tasks)
    head = _head(service, form.id_prefix, plan.tasks[0].seed)
    if asked.stream:
        events = _text_events(service, jobs, plan, {**head, "object": form.chunk_object}, asked, form)
        return await _streamed(request, events)
    try:
        results = await waited(request, jobs.all())
    except ClientGone:
        return GONE
    lasts = [chunks[-1] for chunks in results]
    choices = []
    for index, number in enumerate(_kept(lasts, plan)):
        written = lasts[number].written
        assert written is not None
        extras = step_maps(written) if asked.step_maps else {}
        choices.append({**form.choice(index, written, lasts[number].scored), **extras})
    count = _text_usage([last.written for last in lasts if last.written], plan)
    service.metrics.count_tokens(count["prompt_tokens"], count["completion_tokens"])
    return {**head, "object": form.object, "choices": choices, "usage": count}


async def answer_fills(
    service: Service, request: Request, asked: CompletionRequest
) -> Response | dict[str, Any]:
    """Texts with their gaps filled."""
    task = service.planner.fills(asked)
    jobs: JobGroup[Filled] = JobGroup(service.engine, [task])
    head = {**_head(service, "cmpl", task.seed), "object": "text_completion"}

    async def whole() -> dict[str, Any]:
        (fills,) = await jobs.all()
        choices = [_fill_choice(index, fill, asked) for index, fill in enumerate(fills)]
        count = usage(fills[0].prompt_tokens, sum(fill.tokens for fill in fills))
        service.metrics.count_tokens(count["prompt_tokens"], count["completion_tokens"])
        return {**head, "choices": choices, "usage": count}

    if asked.stream:
        return await _streamed(request, _fill_events(whole(), asked))
    try:
        return await waited(request, whole())
    except ClientGone:
        return GONE


async def answer_rewriting(
    service: Service, request: Request, asked: RewriteRequest
) -> Response | dict[str, Any]:
    """Alternatives."""
    task = service.planner.rewriting(asked)
    jobs: JobGroup[Infilled] = JobGroup(service.engine, [task])
    try:
        ((texts),) = await waited(request, jobs.all())
    except ClientGone:
        return GONE
    fields = ("text", "fills", "tokens", "log_likelihood", "effective_sample_size")
    choices = [
        {"index": index, **{name: getattr(text, name) for name in fields}} for index, text in enumerate(texts)
    ]
    return {**_head(service, "rewrite", task.seed), "object": "rewriting", "choices": choices}


async def waited(request: Request, work: Awaitable[T]) -> T:
    """The result of ``work``, if it comes in time and the client is still there."""
    async with asyncio.timeout_at(request.state.deadline):
        return await while_connected(request.receive, work)


async def _streamed(request: Request, events: AsyncGenerator[str, None]) -> Response:
    """A response that begins with the first event; what goes wrong before it is raised."""
    try:
        first = await waited(request, anext(events))
    except ClientGone:
        return GONE
    return EventStream(first, events, request.state.deadline)


def _head(service: Service, prefix: str, seed: int) -> dict[str, Any]:
    """What every answer begins with."""
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": service.planner.model,
        "seed": seed,
    }


async def _text_events(
    service: Service,
    jobs: JobGroup[Chunk],
    plan: TextPlan,
    head: dict[str, Any],
    asked: CompletionRequest | ChatRequest,
    form: Format,
) -> AsyncGenerator[str, None]:
    """The chunks of all texts, each with its index, as they come."""
    opened: set[int] = set()
    ended: list[Written] = []
    with_usage, spare = _usage_fields(asked)
    async with aclosing(jobs.items()) as items:
        async for index, chunk in items:
            opening = form.opening(index)
            if index not in opened and opening is not None:
                yield event({**head, "choices": [opening], **spare})
            opened.add(index)
            choice = form.chunk(index, chunk)
            if asked.diffusing:
                choice["step"] = chunk.step
            if chunk.state is not None and asked.step_maps:
                choice |= {"tokens": chunk.state.pieces, "settled": chunk.state.settled}
            if chunk.written is not None:
                ended.append(chunk.written)
                choice |= step_maps(chunk.written) if asked.step_maps else {}
            yield event({**head, "choices": [choice], **spare})
    count = _text_usage(ended, plan)
    service.metrics.count_tokens(count["prompt_tokens"], count["completion_tokens"])
    if with_usage:
        yield event({**head, "choices": [], "usage": count})


async def _fill_events(
    work: Awaitable[dict[str, Any]], asked: CompletionRequest
) -> AsyncGenerator[str, None]:
    """Fills settle all at once: a chunk for each text."""
    answer = await work
    count = answer.pop("usage")
    with_usage, spare = _usage_fields(asked)
    for choice in answer["choices"]:
        yield event({**answer, "choices": [choice], **spare})
    if with_usage:
        yield event({**answer, "choices": [], "usage": count})


def _usage_fields(asked: CompletionRequest | ChatRequest) -> tuple[bool, dict[str, None]]:
    """Whether a stream ends with its usage, and what the chunks before have in its place."""
    with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    return with_usage, {"usage": None} if with_usage else {}


def _fill_choice(index: int, fill: Filled, asked: CompletionRequest) -> dict[str, Any]:
    """The whole text; of a gap between prompt and suffix, what stands between them."""
    infilled = fill.infilled
    text, scored = infilled.text, fill.scored
    if asked.suffix is not None:
        begin = len(asked.prompt or "")
        text = text[begin : len(text) - len(asked.suffix)]
        if scored is not None:
            scored = [
                token._replace(offset=max(0, token.offset - begin))
                for token in scored[fill.left : fill.left + fill.tokens]
            ]
    return {
        "index": index,
        "text": text,
        "finish_reason": end_of(fill.finished),
        "logprobs": completion_logprobs(scored),
        "fills": infilled.fills,
        "log_likelihood": infilled.log_likelihood,
        "effective_sample_size": infilled.effective_sample_size,
    }


def _kept(lasts: Sequence[Chunk], plan: TextPlan) -> list[int]:
    """The numbers of the texts that are kept: of each prompt's drafts, those that answer it best, whole ones first."""
    kept: list[int] = []
    for first in range(0, len(lasts), plan.drafts):
        drafts = list(range(first, first + plan.drafts))
        if plan.drafts > plan.n:
            drafts.sort(key=lambda number: _rank(lasts[number].written), reverse=True)
        kept += drafts[: plan.n]
    return kept


def _rank(written: Written | None) -> tuple[bool, float]:
    assert written is not None and written.prompt_pmi is not None
    return written.finished, written.prompt_pmi


def _text_usage(texts: Sequence[Written], plan: TextPlan) -> dict[str, int]:
    """A prompt counts once, whatever number of texts it has."""
    prompts = sum(text.prompt_tokens for text in texts) // plan.drafts
    return usage(prompts, sum(text.tokens for text in texts))
