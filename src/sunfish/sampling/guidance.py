"""Classifier-free guidance: the only place that knows it. A guided denoiser is a denoiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sunfish.types import Condition, Denoiser, Draft, Drafts, Past, Start, State

LARGEST_LEARNED = 4.0  # scales from 0 up to this are taught to a network that takes the scale in


class OnePass:
    """A denoiser that takes the guidance scale in: what :class:`Guided` makes of two passes, learned, in one.

    Meng et al. 2023, "On distillation of guided diffusion models" (arXiv:2210.03142). ``ValueError`` for a scale that
    was not taught.
    """

    def __init__(self, denoiser: Denoiser, scale: float) -> None:
        if not 0 <= scale <= LARGEST_LEARNED:
            raise ValueError(
                f"guidance_scale is {scale:g}, but this checkpoint learned guidance for scales from 0 to "
                f"{LARGEST_LEARNED:g}; for others take the checkpoint that it was taught by"
            )
        self.denoiser = denoiser
        self.scale = scale

    @property
    def table(self) -> Tensor:
        """The embeddings ``[V+1, E]`` of the denoiser."""
        return self.denoiser.table

    def __call__(
        self,
        x: State,
        t: Tensor,
        cond: Condition,
        past: Past | None = None,
        start: Start = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Logits ``[B, N, V]``."""
        return self.denoiser(x, t, cond.at_scale(self.scale), past, start, block_length)

    def remember(
        self, ids: Tensor, cond: Condition, past: Past | None = None, start: Start | None = None
    ) -> tuple[Past, Tensor]:
        """The memory, and next-token logits."""
        return self.denoiser.remember(ids, cond.at_scale(self.scale), past, start)

    def draft(self, x: State, t: Tensor, cond: Condition, past: Past | None, start: Start) -> Draft:
        """What the canvas drafts."""
        return self.denoiser.draft(x, t, cond.at_scale(self.scale), past, start)

    def read_and_draft(
        self, ids: Tensor, cond: Condition, past: Past | None, start: Start, states: State, t: Tensor
    ) -> tuple[Past, Tensor, Drafts]:
        """The memory, next-token logits, and drafts."""
        return self.denoiser.read_and_draft(ids, cond.at_scale(self.scale), past, start, states, t)


class Guided:
    """u + scale * (c - u) on log-probabilities, from one forward pass over twice the rows.

    Ho and Salimans 2022 (eq. 6, with their weight w = scale - 1), on the clean-token distribution as in
    Schiff et al. 2024 ("Simple guidance mechanisms for discrete diffusion models"). 0 is unconditional, 1 plainly
    conditional, above 1 guided. At 0 and 1 one half of the pass would be multiplied by zero, so it is not run.
    The result is normalised, once, at the end: a constant for each position passes through the formula.

    The difference says what the prompt favours, not what is good text: far above 1 it lifts tokens that neither half
    believes in. ``plausibility`` keeps it in bounds: above scale 1 only tokens that the conditional model gives at
    least that share of its likeliest token's probability can be drawn (the adaptive plausibility constraint of
    contrastive decoding, Li et al. 2023, arXiv:2210.15097, eq. 2). 0 is the plain formula.
    ``negative`` holds prompts to be steered away from, one a row; they take the place of "no prompt" in u.
    ``also`` are further prompts with their weights (the first prompt has weight 1): c is then the weighted mean of the
    log-probabilities, normalised, a product of experts (Liu et al. 2022, arXiv:2206.01714, eq. 11).
    ``interval`` is the part of the denoising, from 0 (all noise) to 1, in which the canvas is guided; outside it is
    plainly conditional, and costs so (Kynkaanniemi et al. 2024, arXiv:2404.07724). With ``rising`` the canvas begins at
    scale 1 and comes to the full one at the end. Reading is always guided, in full.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        plausibility: float = 0.0,
        negative: Condition | None = None,
        also: Sequence[tuple[Condition, float]] = (),
        interval: tuple[float, float] = (0.0, 1.0),
        rising: bool = False,
    ) -> None:
        if not math.isfinite(scale) or scale < 0:
            raise ValueError(f"guidance_scale is {scale}: give 0 (ignore the prompt), 1 (follow it) or more")
        if not 0 <= plausibility <= 1:
            raise ValueError(f"plausibility is {plausibility}: give a share from 0 (plain guidance) to 1")
        for _, weight in also:
            if not 0 < weight < math.inf:
                raise ValueError(
                    f"the weight of a further prompt is {weight}: give more than 0; what shall be avoided is a "
                    "negative prompt"
                )
        self.denoiser = denoiser
        self.scale = scale
        self.plausibility = plausibility
        self.negative = negative
        self.also = tuple(also)
        self.interval = interval
        self.rising = rising

    @property
    def table(self) -> Tensor:
        """The embeddings ``[V+1, E]`` of the guided denoiser."""
        return self.denoiser.table

    def __call__(
        self,
        x: State,
        t: Tensor,
        cond: Condition,
        past: Past | None = None,
        start: Start = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Guided log-probabilities ``[B, N, V]``; ``past`` is what :meth:`remember` returned."""
        scale, guides = self.scale, True
        if self.rising or self.interval != (0.0, 1.0):
            progress = 1 - float(t.max())
            guides = self.interval[0] <= progress <= self.interval[1]
            scale = 1 + (scale - 1) * progress if self.rising else scale
        copies = self._copies(guides)
        if past is not None:
            past = past[:, :, : copies * x.shape[0]]  # the unconditional rows are the last ones
        x, t, start = _copied(copies, x, t, start)
        logits = self.denoiser(x, t, self._condition(cond, guides), past, start, block_length)
        return self._combine(logits, guides, scale)

    def remember(
        self, ids: Tensor, cond: Condition, past: Past | None = None, start: Start | None = None
    ) -> tuple[Past, Tensor]:
        """Memory of all parts (twice the rows while guidance is on), and guided next-token log-probabilities."""
        ids, start = _copied(self._copies(True), ids, start)
        past, logits = self.denoiser.remember(ids, self._condition(cond, True), past, start)
        return past, self._combine(logits, True, self.scale)

    def draft(self, x: State, t: Tensor, cond: Condition, past: Past | None, start: Start) -> Draft:
        """The canvas drafts guided; ``past`` is what :meth:`remember` returned."""
        x, t, start = _copied(self._copies(True), x, t, start)
        return self._guided(self.denoiser.draft(x, t, self._condition(cond, True), past, start))

    def read_and_draft(
        self, ids: Tensor, cond: Condition, past: Past | None, start: Start, states: State, t: Tensor
    ) -> tuple[Past, Tensor, Drafts]:
        """As :meth:`remember`, though not normalised where there is nothing to combine, and guided drafts."""
        copies = self._copies(True)
        ids, start, states, t = _copied(copies, ids, start, states, t)
        cond = self._condition(cond, True)
        past, logits, drafts = self.denoiser.read_and_draft(ids, cond, past, start, states, t)
        logits = logits if copies == 1 else self._combine(logits, True, self.scale)
        if drafts is None:
            return past, logits, None
        return past, logits, lambda at: self._guided(drafts(*_copied(copies, at)))

    def _guided(self, draft: Draft) -> Draft:
        """A draft for one row of each text, made of one for all of its rows."""
        copies = self._copies(True)
        if copies == 1:
            return draft  # nobody asks a draft for normalised logits
        return draft.through(
            lambda logits: self._combine(logits, True, self.scale), lambda ids: _copied(copies, ids)[0]
        )

    def _copies(self, guides: bool) -> int:
        """How many rows each text takes: its prompts, and the unconditional one where it does not cancel out."""
        if self.scale == 0:
            return 1
        return 1 + len(self.also) + (guides and self.scale != 1)

    def _condition(self, cond: Condition, guides: bool) -> Condition:
        if self.scale == 0:
            return self._away(cond)
        prompts = cond
        for other, _ in self.also:
            prompts = prompts.beside(other)
        return prompts.beside(self._away(cond)) if guides and self.scale != 1 else prompts

    def _away(self, cond: Condition) -> Condition:
        everything = torch.ones(cond.mask.shape[0], dtype=torch.bool, device=cond.mask.device)
        return cond.drop(everything) if self.negative is None else self.negative

    def _combine(self, logits: Tensor, guides: bool, scale: float) -> Tensor:
        parts = logits.to(torch.promote_types(logits.dtype, torch.float32)).chunk(self._copies(guides))
        conditional = parts[0]
        if self.also and self.scale > 0:
            weights = [1.0, *(weight for _, weight in self.also)]
            mixed = torch.stack([weight * part for weight, part in zip(weights, parts, strict=False)]).sum(0)
            conditional = mixed / sum(weights)
        if not guides or self.scale in (0.0, 1.0):
            return torch.log_softmax(conditional, dim=-1)
        unconditional = parts[-1]
        guided = torch.lerp(unconditional, conditional, scale)
        if self.plausibility and scale > 1:
            least = conditional.amax(dim=-1, keepdim=True) + math.log(self.plausibility)
        else:
            least = conditional.new_tensor(
                torch.finfo(conditional.dtype).min
            )  # what can't be written stays so
        return torch.log_softmax(torch.where(conditional >= least, guided, -torch.inf), dim=-1)


def _copied(copies: int, *parts: Any) -> tuple[Any, ...]:
    """``parts`` for ``copies`` rows a text, one after the other; what is no tensor is the same for all rows."""
    return tuple(
        torch.cat([part] * copies) if copies > 1 and isinstance(part, Tensor) else part for part in parts
    )
