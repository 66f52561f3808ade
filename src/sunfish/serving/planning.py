"""From a request to the work that answers it, with all that can be refused before it waits in the queue."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import NamedTuple

from sunfish.config.rules import did_you_mean, shown
from sunfish.sampling.editing import Span, check_spans, find_spans
from sunfish.sampling.gaps import DEFAULT_LENGTHS, Gaps, parse
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.prompts import check_text
from sunfish.serving.checks import Checks, at_most, wrong
from sunfish.serving.errors import ApiError
from sunfish.serving.filling import FillTask, RewriteTask
from sunfish.serving.limits import Limits
from sunfish.serving.schemas import ChatRequest, CompletionRequest, DrawingRequest, RewriteRequest
from sunfish.serving.writing import TextTask
from sunfish.utils import UsageError

MAX_RANDOM_SEED = 2**31  # where none is given: a number that every language holds
OF_TEXTS = ("best_of", "stop", "diffusing", "step_maps", "block_length", "lenience")  # gaps have none of them
OF_GAPS = ("about", "num_particles")


class TextPlan(NamedTuple):
    """The texts of a request: ``drafts`` of each prompt, of which ``n`` are kept."""

    tasks: list[TextTask]
    drafts: int
    n: int


class Planner:
    """Plans requests to one model."""

    def __init__(self, pipeline: Pipeline, model: str, limits: Limits, places: int) -> None:
        """Plan for ``pipeline``, which clients call ``model``.

        Args:
            pipeline: Its settings, its process, its lengths.
            model: Its name.
            limits: What a request may ask for.
            places: How many jobs may run and wait.
        """
        self.model, self.limits, self.checks = model, limits, Checks(pipeline, limits)
        self.room = pipeline.model.config.context_length - 1  # tokens after the start mark
        self.most_texts = min(limits.texts, places)

    def check_model(self, name: str | None) -> None:
        """Refuse a model that is not served.

        Raises:
            ApiError: 404.
        """
        if name not in (None, self.model):
            message = f"model is {shown(name)}, but this server has {self.model}{did_you_mean(str(name), [self.model])}"
            raise ApiError(404, message, param="model", code="model_not_found")

    def texts(self, request: CompletionRequest | ChatRequest) -> TextPlan:
        """The texts about each prompt of a request.

        Raises:
            ApiError: It asks for what there is not, or for too much.
            UsageError: A setting is wrong.
        """
        n, drafts = request.n or 1, request.best_of or request.n or 1
        name, prompts = _prompts(request)
        amount = "best_of" if request.best_of else "n" if request.n else name
        at_most(amount, len(prompts) * drafts, self.most_texts, "texts")
        self.checks.prompts(name, prompts)
        if drafts < n:
            raise wrong("best_of", drafts, f"n is {n} of these drafts; give at least as many")
        if drafts > n and not all(prompts):
            raise wrong("best_of", drafts, "it compares how well texts answer a prompt; give one")
        if drafts > n and request.stream:
            raise wrong("best_of", drafts, "it compares whole texts, and stream sends parts; leave one out")
        if request.diffusing and not request.stream:
            raise wrong("diffusing", True, "states are sent by a stream; give stream")
        seq_len, num_top = self._seq_len(request), _num_top(request)
        for name, is_used in (("best_of", drafts > n), ("logprobs", num_top is not None)):
            if is_used and seq_len > 1 + self.room:
                why = (
                    f"texts of more than {self.room} tokens, which the model does not see at once, have none"
                )
                raise wrong(name, getattr(request, name), f"{why}; leave it out, or ask for fewer tokens")
        task = TextTask(
            prompt="",
            config=self.checks.settings(request, prompted=any(prompts)),
            seq_len=seq_len,
            seed=_seed(request),
            number=0,
            stop=self.checks.stops(request),
            num_top=num_top,
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
                raise wrong(name, value, "gaps have none; leave it out")
        gaps, name, prompt = _gaps(request)
        at_most("text", len(gaps.lengths), self.limits.gaps, "gaps")
        self.checks.prompts(name, [prompt])
        return FillTask(
            gaps=gaps,
            prompt=prompt,
            config=self.checks.settings(request, prompted=bool(prompt), fills=True),
            seed=_seed(request),
            count=at_most("n", request.n or 1, self.most_texts, "texts"),
            num_particles=self.checks.particles(request.num_particles),
            max_tokens=request.max_tokens,
            num_top=request.logprobs,
        )

    def rewriting(self, request: RewriteRequest) -> RewriteTask:
        """The alternatives of a request; raises like :meth:`texts`."""
        given, words = request.spans or [], request.replace or []
        at_most("spans" if given else "replace", len(given) + len(words), self.limits.gaps, "spans")
        check_text("text", request.text)
        prompt = request.prompt or ""
        self.checks.prompts("prompt", [prompt])
        try:
            spans: list[Span] = [*given, *find_spans(request.text, words)]
        except UsageError as why:
            raise ApiError(400, str(why), param="replace") from why
        return RewriteTask(
            text=request.text,
            spans=check_spans(request.text, spans),
            prompt=prompt,
            config=self.checks.settings(request, prompted=bool(prompt), fills=True),
            seed=_seed(request),
            count=request.n or 1,
            num_particles=self.checks.particles(request.num_particles),
        )

    def _seq_len(self, request: CompletionRequest | ChatRequest) -> int:
        """Positions of a text, its start mark included."""
        asked, name = request.max_tokens, "max_tokens"
        if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
            if asked not in (None, request.max_completion_tokens):
                raise wrong("max_tokens", asked, "max_completion_tokens says otherwise; leave one out")
            asked, name = request.max_completion_tokens, "max_completion_tokens"
        if asked is None:
            return 1 + self.room
        at_most(name, asked, max(self.room, self.limits.tokens), "tokens")
        return 1 + asked


def _prompts(request: CompletionRequest | ChatRequest) -> tuple[str, list[str]]:
    """The field that says what texts are about, and what it says."""
    if isinstance(request, ChatRequest):
        if request.messages[-1].role != "user":
            raise wrong("messages", "of the assistant at the end", "the user's comes last; add it")
        return "messages", [request.messages[-1].words]
    for name in OF_GAPS:
        if getattr(request, name) is not None:
            why = "it is for gaps; give suffix or text, or leave it out"
            raise wrong(name, getattr(request, name), why)
    prompts = request.prompt if isinstance(request.prompt, list) else [request.prompt or ""]
    if not prompts:
        raise wrong("prompt", [], 'a text needs one; give "" for a text about anything')
    return "prompt", prompts


def _gaps(request: CompletionRequest) -> tuple[Gaps, str, str]:
    """The text of a request with its gaps, the field that says what it is about, and what that says."""
    if request.suffix is not None and request.text is not None:
        raise wrong("suffix", request.suffix, "text has gaps as well; leave one out")
    if not (request.prompt is None or isinstance(request.prompt, str)):
        raise wrong("prompt", request.prompt, "a text with gaps goes with one; give one text")
    prompt = request.prompt or ""
    if request.suffix is not None:
        for name, piece in (("prompt", prompt), ("suffix", request.suffix)):
            check_text(name, piece)
        return Gaps([prompt, request.suffix], [DEFAULT_LENGTHS]), "about", request.about or ""
    if request.about is not None:
        raise wrong("about", request.about, "with text, prompt says what it is about; leave about out")
    return parse(request.text or ""), "prompt", prompt


def _seed(request: DrawingRequest) -> int:
    return secrets.randbelow(MAX_RANDOM_SEED) if request.seed is None else request.seed


def _num_top(request: CompletionRequest | ChatRequest) -> int | None:
    """How many likeliest tokens to name at each place; None: no log-probabilities are asked for."""
    if isinstance(request, CompletionRequest):
        return request.logprobs
    if request.top_logprobs and not request.logprobs:
        raise wrong("top_logprobs", request.top_logprobs, "logprobs is not; give both")
    return (request.top_logprobs or 0) if request.logprobs else None
