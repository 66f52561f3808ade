"""The routes of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sunfish.serving.answers import answer_fills, answer_rewriting, answer_texts
from sunfish.serving.errors import AnswerErrors, on_error
from sunfish.serving.formats import ChatFormat, CompletionFormat
from sunfish.serving.metrics import CountRequests
from sunfish.serving.pages import add_pages
from sunfish.serving.responses import (
    ChatCompletion,
    Completion,
    Health,
    Model,
    ModelList,
    Rewriting,
    error_responses,
)
from sunfish.serving.runs import router as runs
from sunfish.serving.schemas import ChatRequest, CompletionRequest, RewriteRequest
from sunfish.serving.scoring import ScoreRequest, Scoring, answer_score
from sunfish.serving.security import Guard
from sunfish.serving.service import Service

EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": EVENT}}}}
router = APIRouter(responses=error_responses())


@router.get("/v1/models")
async def models(request: Request) -> ModelList:
    """What is served: one model."""
    return ModelList(object="list", data=[_service(request).card])


@router.get("/v1/models/{name}")
async def model(request: Request, name: str) -> Model:
    """A model by its name."""
    _service(request).planner.check_model(name)
    return _service(request).card


@router.post(
    "/v1/completions", response_model=Completion, response_model_exclude_unset=True, responses=STREAM
)
async def completions(request: Request, asked: CompletionRequest) -> Any:
    """Write texts about a prompt; or fill the gap between prompt and suffix, or all gaps of text."""
    service = _begin(request, asked)
    if asked.suffix is None and asked.text is None:
        return await answer_texts(service, request, asked, CompletionFormat())
    return await answer_fills(service, request, asked)


@router.post(
    "/v1/chat/completions", response_model=ChatCompletion, response_model_exclude_unset=True, responses=STREAM
)
async def chat(request: Request, asked: ChatRequest) -> Any:
    """Write texts about the last message."""
    return await answer_texts(_begin(request, asked), request, asked, ChatFormat())


@router.post("/v1/rewrite", response_model=Rewriting)
async def rewrite(request: Request, asked: RewriteRequest) -> Any:
    """Write some words of a text anew; all others stay as they are."""
    return await answer_rewriting(_begin(request, asked), request, asked)


@router.post("/v1/score", response_model=Scoring)
async def score(request: Request, asked: ScoreRequest) -> Any:
    """How likely a text is, token by token."""
    return await answer_score(_begin(request, asked), request, asked)


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the server answers."""
    return Health(status="ok")


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
async def metrics(request: Request) -> Response:
    """What the server has done, for Prometheus."""
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _begin(
    request: Request, asked: CompletionRequest | ChatRequest | RewriteRequest | ScoreRequest
) -> Service:
    """Note what errors may name, and when the answer is due."""
    service = _service(request)
    request.state.fields = type(asked).model_fields
    request.state.deadline = asyncio.get_running_loop().time() + service.limits.seconds
    service.planner.check_model(asked.model)
    return service


def build_app(service: Service) -> FastAPI:
    """The server around ``service``, whose engine runs for as long as it does."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        yield
        await asyncio.to_thread(service.engine.drain, service.limits.seconds)
        await asyncio.to_thread(service.engine.close)

    app = FastAPI(
        title="SunFish",
        description="Texts, gaps and rewriting by a diffusion language model, in the shape of OpenAI's API.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        exception_handlers={kind: on_error for kind in (RequestValidationError, HTTPException)},
    )
    app.state.service = service
    app.include_router(router)
    app.include_router(runs)
    add_pages(app)
    app.add_middleware(AnswerErrors)
    app.add_middleware(Guard, token=service.token, limits=service.limits)
    app.add_middleware(CountRequests, metrics=service.metrics)
    return app
