"""The batching denoiser: to a job it is a network of its own; its passes are shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sunfish.model.draft import Draft, DraftAt, make_draft, make_draft_at
from sunfish.model.draft_head import DraftState
from sunfish.model.growing_cache import GrowingCache
from sunfish.model.kv_cache import KVCache
from sunfish.model.shared_pass import Answers, Call, SharedPasses
from sunfish.model.transformer import Transformer
from sunfish.serving.job import Job
from sunfish.serving.scheduler import Request
from sunfish.types import Condition, Start, State


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


class DraftRequest(Request):
    """:meth:`Transformer.draft_logits`."""

    def __init__(self, job: Job[Any], state: DraftState, ids: Tensor | None, outputs: Tensor | None) -> None:
        shapes = [None if part is None else part.shape[1:] for part in (state.hidden, ids, outputs)]
        super().__init__(job, ("draft", *shapes), len(state.hidden))
        self.state, self.ids, self.outputs = state, ids, outputs


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
        state = self._pass(None, x, t, condition, cache, start, drafts=True)
        return make_draft(state, self._draft_logits, self._model.token_embedding)

    def prefill_and_draft(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start
    ) -> tuple[Tensor, KVCache, DraftAt]:
        """See :meth:`sunfish.model.denoiser.Denoiser.prefill_and_draft`."""
        logits, grown, canvases = self._pass(ids, x, t, condition, cache, start)
        embedding = self._model.token_embedding
        return logits, grown, make_draft_at(canvases, self._start, self._draft_logits, embedding)

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

    def _start(self, hidden: Tensor) -> DraftState:
        state: DraftState = self._ask(StartRequest(self._job, hidden))
        return state

    def _draft_logits(self, state: DraftState, ids: Tensor | None, outputs: Tensor | None) -> Tensor:
        logits: Tensor = self._ask(DraftRequest(self._job, state, ids, outputs))
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
        if isinstance(first, DraftRequest):
            return self._continue_drafts([r for r in requests if isinstance(r, DraftRequest)])
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
        """Logits for those who denoise, the draft's state for those who draft."""
        told: dict[int, Any] = {}
        for drafts in (False, True):
            numbers = [number for number, request in enumerate(requests) if request.drafts == drafts]
            if not numbers:
                continue
            hidden, counts = answers.hidden, [requests[number].rows for number in numbers]
            if len(numbers) < len(requests):
                hidden = torch.cat([hidden[answers.places[number]] for number in numbers])
            parts: Sequence[Any] = (
                split_state(self.model.start_draft(hidden), counts)
                if drafts
                else self.model.head(hidden).split(counts)
            )
            told.update(zip(numbers, parts, strict=True))
        return [told[number] for number in range(len(requests))]

    def _start_drafts(self, requests: Sequence[StartRequest]) -> list[DraftState]:
        state = self.model.start_draft(torch.cat([request.hidden for request in requests]))
        return split_state(state, [request.rows for request in requests])

    def _continue_drafts(self, requests: Sequence[DraftRequest]) -> Sequence[Tensor]:
        logits = self.model.draft_logits(
            join_states([request.state for request in requests]),
            join([request.ids for request in requests]),
            join([request.outputs for request in requests]),
        )
        parts: Sequence[Tensor] = logits.split([request.rows for request in requests])
        return parts


def join(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The rows of all parts; of such as are all None, None."""
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def join_states(states: Sequence[DraftState]) -> DraftState:
    """The state of the rows of all."""
    hidden = torch.cat([state.hidden for state in states])
    return DraftState(hidden, join([state.projected for state in states]))


def split_state(state: DraftState, counts: Sequence[int]) -> list[DraftState]:
    """The inverse of :func:`join_states`, for parts of ``counts`` rows."""
    hidden = state.hidden.split(list(counts))
    if state.projected is None:
        return [DraftState(part, None) for part in hidden]
    projected = state.projected.split(list(counts))
    return [DraftState(*parts) for parts in zip(hidden, projected, strict=True)]
