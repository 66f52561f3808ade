"""The batching denoiser: to a job it is a network of its own; its passes are shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sunfish.model.denoiser import Draft, DraftAt
from sunfish.model.draft_head import DraftState
from sunfish.model.growing_cache import GrowingCache
from sunfish.model.kv_cache import KVCache
from sunfish.model.shared_pass import Answers, Call, SharedPasses
from sunfish.model.transformer import Transformer, make_draft, make_draft_at
from sunfish.serving.job import Job
from sunfish.serving.scheduler import Request
from sunfish.types import Condition, Start, State

StartedDraft = tuple[Tensor, DraftState | None]


class PassRequest(Request):
    """A pass through the network; ``drafts``: what the canvas says is a draft."""

    def __init__(self, job: Job[Any], call: Call, drafts: bool) -> None:
        super().__init__(job, call.kind, call.num_rows, call.num_positions, is_pass=True)
        self.call, self.drafts = call, drafts


class StartRequest(Request):
    """:meth:`Transformer.start_draft` of canvases ``hidden [B, W, D]``."""

    def __init__(self, job: Job[Any], hidden: Tensor) -> None:
        super().__init__(job, ("start", hidden.shape[1]), len(hidden))
        self.hidden = hidden


class RefineRequest(Request):
    """:meth:`Transformer.refine_draft`."""

    def __init__(self, job: Job[Any], state: DraftState, previous: Tensor) -> None:
        super().__init__(job, ("refine", previous.shape[1]), len(previous))
        self.state, self.previous = state, previous


class BatchingDenoiser:
    """A denoiser whose every call is a request to the scheduler."""

    def __init__(self, model: Transformer, job: Job[Any], ask: Callable[[Request], Any]) -> None:
        self._model, self._job, self._ask = model, job, ask

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        """See :meth:`sunfish.model.denoiser.Denoiser.denoise`."""
        logits: Tensor = self._pass(None, x, t, condition, cache, start)
        return logits

    def prefill(
        self, ids: Tensor, condition: Condition, cache: KVCache | None = None, start: Start | None = None
    ) -> tuple[Tensor, KVCache]:
        """See :meth:`sunfish.model.denoiser.Denoiser.prefill`."""
        answer: tuple[Tensor, KVCache] = self._pass(ids, None, None, condition, cache, start)
        return answer

    def draft(self, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start) -> Draft:
        """See :meth:`sunfish.model.denoiser.Denoiser.draft`."""
        marginal, state = self._pass(None, x, t, condition, cache, start, drafts=True)
        return make_draft(marginal, state, self._refine)

    def prefill_and_draft(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start
    ) -> tuple[Tensor, KVCache, DraftAt]:
        """See :meth:`sunfish.model.denoiser.Denoiser.prefill_and_draft`."""
        logits, grown, canvases = self._pass(ids, x, t, condition, cache, start)
        return logits, grown, make_draft_at(canvases, self._start, self._refine)

    def _pass(
        self,
        ids: Tensor | None,
        x: State | None,
        t: Tensor | None,
        condition: Condition,
        cache: KVCache | None,
        start: Start | None,
        drafts: bool = False,
    ) -> Any:
        call = Call(ids, x, t, condition, GrowingCache.of(cache), 0)
        call = call._replace(start=self._model.check_place(call.extent, cache, start))
        return self._ask(PassRequest(self._job, call, drafts))

    def _start(self, hidden: Tensor) -> StartedDraft:
        started: StartedDraft = self._ask(StartRequest(self._job, hidden))
        return started

    def _refine(self, state: DraftState, previous: Tensor) -> Tensor:
        logits: Tensor = self._ask(RefineRequest(self._job, state, previous))
        return logits


class Network:
    """Answers the requests of batching denoisers."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self._passes = SharedPasses(model)
        self.num_passes = self.num_rows = self.num_positions = 0

    def answer(self, requests: Sequence[Request]) -> Sequence[Any]:
        """The answer to each of ``requests``, which share a key."""
        first = requests[0]
        if isinstance(first, PassRequest):
            return self._answer_passes([r for r in requests if isinstance(r, PassRequest)])
        if isinstance(first, StartRequest):
            return self._start_drafts([r for r in requests if isinstance(r, StartRequest)])
        if isinstance(first, RefineRequest):
            return self._refine_drafts([r for r in requests if isinstance(r, RefineRequest)])
        return [None] * len(requests)  # only a turn was asked for

    def _answer_passes(self, requests: Sequence[PassRequest]) -> list[Any]:
        answers = self._passes.run([request.call for request in requests])
        rows, width = answers.hidden.shape[:2]
        self.num_passes, self.num_rows = self.num_passes + 1, self.num_rows + rows
        self.num_positions += rows * width
        if not requests[0].call.num_canvas:
            logits = self.model.head(answers.hidden)
            parts = [
                logits[rows, : r.call.num_text] for rows, r in zip(answers.places, requests, strict=True)
            ]
            return list(zip(parts, answers.caches, strict=True))
        if not requests[0].call.num_text:
            return self._answer_canvases(requests, answers)
        count = requests[0].call.num_text
        logits, canvases = self.model.head(answers.hidden[:, :count]), answers.hidden[:, count:]
        canvases = canvases.unflatten(1, (count, -1))
        return [
            (logits[rows], cache, canvases[rows])
            for rows, cache in zip(answers.places, answers.caches, strict=True)
        ]

    def _answer_canvases(self, requests: Sequence[PassRequest], answers: Answers) -> list[Any]:
        """Logits for those who denoise, marginal logits and the draft's state for those who draft."""
        told: dict[int, Any] = {}
        for drafts in (False, True):
            numbers = [number for number, request in enumerate(requests) if request.drafts == drafts]
            if not numbers:
                continue
            hidden, counts = answers.hidden, [requests[number].rows for number in numbers]
            if len(numbers) < len(requests):
                hidden = torch.cat([hidden[answers.places[number]] for number in numbers])
            parts: Sequence[Any] = (
                split_draft(*self.model.start_draft(hidden), counts)
                if drafts
                else self.model.head(hidden).split(counts)
            )
            told.update(zip(numbers, parts, strict=True))
        return [told[number] for number in range(len(requests))]

    def _start_drafts(self, requests: Sequence[StartRequest]) -> list[StartedDraft]:
        marginal, state = self.model.start_draft(torch.cat([request.hidden for request in requests]))
        return split_draft(marginal, state, [request.rows for request in requests])

    def _refine_drafts(self, requests: Sequence[RefineRequest]) -> Sequence[Tensor]:
        state = DraftState(*(torch.cat(parts) for parts in zip(*(r.state for r in requests), strict=True)))
        logits = self.model.refine_draft(state, torch.cat([request.previous for request in requests]))
        parts: Sequence[Tensor] = logits.split([request.rows for request in requests])
        return parts


def split_draft(marginal: Tensor, state: DraftState | None, counts: Sequence[int]) -> list[StartedDraft]:
    """What :meth:`Transformer.start_draft` says of many rows, as parts of ``counts`` rows."""
    logits = marginal.split(list(counts))
    if state is None:
        return [(part, None) for part in logits]
    states = zip(*(part.split(list(counts)) for part in state), strict=True)
    return [(part, DraftState(*kept)) for part, kept in zip(logits, states, strict=True)]
