"""From a request to the work that answers it, with all that can be refused before it waits in the queue."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, NamedTuple

from sunfish.config import GenerationConfig
from sunfish.config.generation import NUM_PARTICLES
from sunfish.config.rules import did_you_mean, shown
from sunfish.sampling.editing import Span, check_spans, find_spans
from sunfish.sampling.gaps import DEFAULT_LENGTHS, Gaps, parse
from sunfish.sampling.generation_config import settings_for
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.prompts import check_text, encode_prompt
from sunfish.sampling.stop import StopStrings
from sunfish.serving.errors import ApiError
from sunfish.serving.limits import Limits
from sunfish.serving.schemas import (
    ChatRequest,
    CompletionRequest,
    DrawingRequest,
    RewriteRequest,
    TextRequest,
)
from sunfish.serving.writing import FillTask, RewriteTask, TextTask
from sunfish.utils import UsageError

MAX_RANDOM_SEED = 2**31  # where none is given: a number that every language holds
# What only texts without gaps have.
OF_TEXTS = ("best_of", "stop", "logprobs", "diffusing", "step_maps", "block_length", "lenience")


class TextPlan(NamedTuple):
    """The texts of a request: ``drafts`` of each prompt, of which ``n`` are kept."""

    tasks: list[TextTask]
    drafts: int
    n: int


class Planner:
    """Knows the model and the limits."""

    def __init__(self, pipeline: Pipeline, model: str, limits: Limits, places: int) -> None:
        """Plan for ``pipeline``, which clients call ``model``.

        Args:
            pipeline: Its settings, its process, its lengths.
            model: Its name.
            limits: What a request may ask for.
            places: How many jobs may run and wait.
        """
        self.pipeline, self.model, self.limits = pipeline, model, limits
        self.most_texts = min(limits.texts, places)

    def texts(self, request: CompletionRequest | ChatRequest) -> TextPlan:
        """The texts about each prompt of a request.

        Raises:
            ApiError: It asks for what there is not, or for too much.
            UsageError: A setting is wrong.
        """
        prompts = self._prompts(request)
        n, drafts = request.n or 1, request.best_of or request.n or 1
        if drafts < n:
            raise _wrong("best_of", drafts, f"n is {n} of these drafts; give at least as many")
        if drafts > n and not all(prompts):
            raise _wrong("best_of", drafts, "it compares how well texts answer a prompt; give one")
        if drafts > n and request.stream:
            raise _wrong("best_of", drafts, "it compares whole texts, and stream sends parts; leave one out")
        if request.diffusing and not request.stream:
            raise _wrong("diffusing", True, "states are sent by a stream; give stream")
        name = "best_of" if request.best_of else "n" if request.n else "prompt"
        self._at_most(name, len(prompts) * drafts, self.most_texts, "texts")
        task = TextTask(
            prompt="",
            config=self._settings(request, prompted=any(prompts)),
            seq_len=self._seq_len(request),
            seed=_seed(request),
            number=0,
            stop=self._stops(request),
            num_top=_num_top(request),
            streams=bool(request.stream),
            diffusing=bool(request.diffusing),
            is_ranked=drafts > n,
        )
        rows = [prompt for prompt in prompts for _ in range(drafts)]
        tasks = [replace(task, prompt=prompt, number=number) for number, prompt in enumerate(rows)]
        return TextPlan(tasks, drafts, n)

    def fills(self, request: CompletionRequest) -> FillTask:
        """The fills of a request with ``suffix`` or ``text``; raises like :meth:`texts`."""
        for name in OF_TEXTS:
            value = getattr(request, name)
            if value is not None and value is not False and value != []:
                raise _wrong(name, value, "gaps have none; leave it out")
        if request.suffix is not None and request.text is not None:
            raise _wrong("suffix", request.suffix, "text has gaps as well; leave one out")
        if not (request.prompt is None or isinstance(request.prompt, str)):
            raise _wrong("prompt", request.prompt, "a text with gaps goes with one; give one text")
        if request.suffix is None:
            if request.about is not None:
                raise _wrong(
                    "about", request.about, "with text, prompt says what it is about; leave about out"
                )
            gaps, prompt = parse(request.text or ""), request.prompt or ""
            self._check_prompts("prompt", [prompt])
        else:
            gaps, prompt = (
                Gaps([request.prompt or "", request.suffix], [DEFAULT_LENGTHS]),
                request.about or "",
            )
            for name, piece in zip(("prompt", "suffix"), gaps.pieces, strict=True):
                check_text(name, piece)
            self._check_prompts("about", [prompt])
        self._at_most("text", len(gaps.lengths), self.limits.gaps, "gaps")
        return FillTask(
            text=gaps,
            prompt=prompt,
            config=self._settings(request, prompted=bool(prompt), fills=True),
            seed=_seed(request),
            count=self._at_most("n", request.n or 1, self.most_texts, "texts"),
            num_particles=self._particles(request.num_particles),
            max_tokens=request.max_tokens,
        )

    def rewriting(self, request: RewriteRequest) -> RewriteTask:
        """The alternatives of a request; raises like :meth:`texts`."""
        check_text("text", request.text)
        self._check_prompts("prompt", [request.prompt or ""])
        spans: list[Span] = [*(request.spans or []), *find_spans(request.text, request.replace or [])]
        self._at_most("spans", len(spans), self.limits.gaps, "spans")
        return RewriteTask(
            text=request.text,
            spans=check_spans(request.text, spans),
            prompt=request.prompt or "",
            config=self._settings(request, prompted=bool(request.prompt), fills=True),
            seed=_seed(request),
            count=request.n or 1,
            num_particles=self._particles(request.num_particles),
        )

    def check_model(self, name: str | None) -> None:
        """Refuse a model that is not served.

        Raises:
            ApiError: 404.
        """
        if name not in (None, self.model):
            message = f"model is {shown(name)}, but this server has {self.model}{did_you_mean(str(name), [self.model])}"
            raise ApiError(404, message, param="model", code="model_not_found")

    def _prompts(self, request: CompletionRequest | ChatRequest) -> list[str]:
        if isinstance(request, ChatRequest):
            if request.messages[-1].role != "user":
                raise _wrong("messages", "of the assistant at the end", "the user's comes last; add it")
            return self._check_prompts("messages", [request.messages[-1].words])
        for name in ("about", "num_particles"):
            if getattr(request, name) is not None:
                raise _wrong(
                    name, getattr(request, name), "it is for gaps; give suffix or text, or leave it out"
                )
        prompts = request.prompt if isinstance(request.prompt, list) else [request.prompt or ""]
        if not prompts:
            raise _wrong("prompt", [], 'a text needs one; give "" for a text about anything')
        return self._check_prompts("prompt", prompts)

    def _check_prompts(self, name: str, prompts: list[str]) -> list[str]:
        """The same prompts, which the model can read."""
        for prompt in prompts:
            try:
                check_text(name, prompt)
                encode_prompt(
                    self.pipeline.prompt_tokenizer, prompt, self.pipeline.model.config.prompt_length
                )
            except UsageError as why:
                raise ApiError(400, str(why), param=name) from why
        return prompts

    def _settings(self, request: DrawingRequest, *, prompted: bool, fills: bool = False) -> GenerationConfig:
        """The checkpoint's settings with those of the request in their place."""
        given = request.given()
        negative, further = given.get("negative_prompt", ""), given.get("composed_prompts", [])
        self._check_prompts("negative_prompt", [negative])
        self._check_prompts("composed_prompts", [text for text, _ in further])
        self._at_most("num_steps", given.get("num_steps", 1), self.limits.steps, "steps")
        self._at_most("composed_prompts", len(further), self.limits.prompts, "prompts")
        if not prompted and further:
            raise _wrong("composed_prompts", further, "they add to a prompt; give one")
        if not prompted and given.get("guidance_scale", 0) not in (0, 1) and not negative:
            raise _wrong("guidance_scale", given["guidance_scale"], "it needs a prompt to guide by; give one")
        return settings_for(
            self.pipeline.generation_config,
            given,
            prompted=prompted,
            fills=fills,
            default_sampler=self.pipeline.process.default_sampler,
        )

    def _seq_len(self, request: CompletionRequest | ChatRequest) -> int:
        """Positions of a text, its start mark included."""
        room = self.pipeline.model.config.context_length - 1
        asked, name = request.max_tokens, "max_tokens"
        if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
            if asked not in (None, request.max_completion_tokens):
                raise _wrong("max_tokens", asked, "max_completion_tokens says otherwise; leave one out")
            asked, name = request.max_completion_tokens, "max_completion_tokens"
        return 1 + (room if asked is None else self._at_most(name, asked, room, "tokens"))

    def _stops(self, request: TextRequest) -> tuple[str, ...]:
        self._at_most("stop", len(request.stops), self.limits.stops, "strings")
        return StopStrings(request.stops).stops

    def _particles(self, count: int | None) -> int:
        return self._at_most("num_particles", count or NUM_PARTICLES, self.limits.particles, "particles")

    @staticmethod
    def _at_most(name: str, value: int, most: int, of_what: str) -> int:
        if value > most:
            raise ApiError(
                400,
                f"{name} asks for {value:,} {of_what}, but at most {most:,} are allowed; ask for less",
                param=name,
            )
        return value


def _seed(request: DrawingRequest) -> int:
    return secrets.randbelow(MAX_RANDOM_SEED) if request.seed is None else request.seed


def _num_top(request: CompletionRequest | ChatRequest) -> int | None:
    """How many likeliest tokens to name at each place; None: no log-probabilities are asked for."""
    if isinstance(request, CompletionRequest):
        return request.logprobs
    if request.top_logprobs and not request.logprobs:
        raise _wrong("top_logprobs", request.top_logprobs, "logprobs is not; give both")
    return (request.top_logprobs or 0) if request.logprobs else None


def _wrong(param: str, value: Any, why: str) -> ApiError:
    """A field that does not go with the rest of its request."""
    return ApiError(400, f"{param} is {shown(value)}, but {why}", param=param)
