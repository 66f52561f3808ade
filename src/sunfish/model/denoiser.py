"""What a denoiser answers, and the base of everything that wraps one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from sunfish.model.draft import Draft, DraftAt, likely_ids_of
from sunfish.model.kv_cache import KVCache
from sunfish.types import Condition, Start, State


@runtime_checkable
class Denoiser(Protocol):
    """Predicts clean tokens from the text so far (in the cache), a prompt and a noisy canvas.

    ``start`` is where a pass begins in the text: one position, or one for each row ``[B]``; a row then sees the first
    ``start[b]`` positions of its cache.
    """

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        """Clean-token logits ``[B, N, V]`` of a canvas ``x`` at times ``t [B, N]``, one block after the cache."""
        ...

    def prefill(
        self, ids: Tensor, condition: Condition, cache: KVCache | None = None, start: Start | None = None
    ) -> tuple[Tensor, KVCache]:
        """Next-token logits ``[B, N, V]`` of clean ``ids [B, N]``, and the cache with them appended.

        They begin at ``start``; None: after all of the cache.
        """
        ...

    def draft(self, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start) -> Draft:
        """What a canvas of ``[B, W]`` positions, the first of them known, drafts."""
        ...

    def prefill_and_draft(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start
    ) -> tuple[Tensor, KVCache, DraftAt]:
        """:meth:`prefill` of ``ids [B, N]``, and in the same pass a canvas after each of them.

        ``x`` and ``t [B, N W]`` are N canvases of W positions; number i sees what the cache holds and
        ``ids[:, : i + 1]``.
        """
        ...


class DenoiserWrapper:
    """A denoiser around another one. Subclasses say how a call is prepared and how its logits are finished.

    With ``num_branches`` above 1 every text takes that many rows, one branch after the other: ids, canvases and starts
    are repeated here, :meth:`prepare` makes the conditions of the branches, and :meth:`finish` combines their logits.
    """

    num_branches = 1
    vocab_size: int | None = None  # V of the logits; None: that of the wrapped denoiser

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self._latest: tuple[Condition, Condition] | None = None  # one that was prepared, and what came out

    def prepare(self, condition: Condition) -> Condition:
        """The condition ``[num_branches * B, ...]`` that the wrapped denoiser gets."""
        return condition

    def finish(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        """Logits ``[B, N, V]`` of the wrapped denoiser's ``[num_branches * B, N, V]``.

        With ``ids [B, K]`` both are only of these.
        """
        return logits

    def denoise(
        self, x: State, t: Tensor, condition: Condition, cache: KVCache | None = None, start: Start = 0
    ) -> Tensor:
        """See :meth:`Denoiser.denoise`."""
        x, t, start = self._repeat(x, t, start)
        return self.finish(self.denoiser.denoise(x, t, self._prepared(condition), cache, start))

    def prefill(
        self, ids: Tensor, condition: Condition, cache: KVCache | None = None, start: Start | None = None
    ) -> tuple[Tensor, KVCache]:
        """See :meth:`Denoiser.prefill`."""
        ids, start = self._repeat(ids, start)
        logits, cache = self.denoiser.prefill(ids, self._prepared(condition), cache, start)
        return self.finish(logits), cache

    def draft(self, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start) -> Draft:
        """See :meth:`Denoiser.draft`."""
        x, t, start = self._repeat(x, t, start)
        return self._finished(self.denoiser.draft(x, t, self._prepared(condition), cache, start))

    def prefill_and_draft(
        self, ids: Tensor, x: State, t: Tensor, condition: Condition, cache: KVCache | None, start: Start
    ) -> tuple[Tensor, KVCache, DraftAt]:
        """See :meth:`Denoiser.prefill_and_draft`."""
        ids, x, t, start = self._repeat(ids, x, t, start)
        condition = self._prepared(condition)
        logits, cache, draft_at = self.denoiser.prefill_and_draft(ids, x, t, condition, cache, start)
        return self.finish(logits), cache, lambda index: self._finished(draft_at(*self._repeat(index)))

    def _prepared(self, condition: Condition) -> Condition:
        """:meth:`prepare`, once for all passes with the same condition."""
        if self._latest is None or self._latest[0] is not condition:
            self._latest = condition, self.prepare(condition)
        return self._latest[1]

    def _finished(self, draft: Draft) -> Draft:
        """The draft of the wrapped denoiser as one of this one."""
        marginal, conditional, branches = draft.marginal_logits, draft.conditional_logits, self.num_branches

        def marginal_logits(rows: int) -> Tensor:
            return self.finish(marginal(rows * branches))

        def conditional_logits(candidates: Tensor | None) -> Callable[[Tensor], Tensor]:
            assert conditional is not None
            logits = conditional(*self._repeat(candidates))
            return lambda ids: self.finish(logits(*self._repeat(ids)), candidates)

        # With several branches the first one names the likely ids: what guidance makes of marginals is often fewer ids
        # (plausibility), and not those that it leaves once the tokens before are known.
        return Draft(
            self.vocab_size or draft.vocab_size,
            marginal_logits,
            likely_ids_of(marginal_logits) if branches == 1 else draft.likely_ids,
            conditional and conditional_logits,
        )

    def _repeat(self, *parts: Any) -> tuple[Any, ...]:
        """``parts`` for every branch; what is no tensor is the same for all rows."""
        if self.num_branches == 1:
            return parts
        return tuple(
            torch.cat([part] * self.num_branches) if isinstance(part, Tensor) else part for part in parts
        )
