"""Classifier-free guidance: the only place that knows it. A guided denoiser is a denoiser."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sunfish.types import Condition, Denoiser, Past, State


class Guided:
    """u + scale * (c - u) on log-probabilities, from one forward pass over twice the rows.

    Ho and Salimans 2022 (eq. 6, with their weight w = scale - 1), on the clean-token distribution as in
    Schiff et al. 2024 ("Simple guidance mechanisms for discrete diffusion models"). 0 is unconditional, 1 plainly
    conditional, above 1 guided. At 0 and 1 one half of the pass would be multiplied by zero, so it is not run.
    The result is normalised: a softmax over it changes nothing.

    The difference says what the prompt favours, not what is good text: far above 1 it lifts tokens that neither half
    believes in. ``plausibility`` keeps it in bounds: above scale 1 only tokens that the conditional model gives at
    least that share of its likeliest token's probability can be drawn (the adaptive plausibility constraint of
    contrastive decoding, Li et al. 2023, arXiv:2210.15097, eq. 2). 0 is the plain formula.
    ``negative`` holds prompts to be steered away from, one a row; they take the place of "no prompt" in u.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        plausibility: float = 0.0,
        negative: Condition | None = None,
    ) -> None:
        if not math.isfinite(scale) or scale < 0:
            raise ValueError(f"guidance_scale is {scale}: give 0 (ignore the prompt), 1 (follow it) or more")
        if not 0 <= plausibility <= 1:
            raise ValueError(f"plausibility is {plausibility}: give a share from 0 (plain guidance) to 1")
        self.denoiser = denoiser
        self.scale = scale
        self.plausibility = plausibility
        self.negative = negative

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
        start: int = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Guided log-probabilities ``[B, N, V]``; ``past`` is what :meth:`remember` returned."""
        logits = self.denoiser(self._rows(x), self._rows(t), self._condition(cond), past, start, block_length)
        return self._combine(logits)

    def remember(self, ids: Tensor, cond: Condition, past: Past | None = None) -> tuple[Past, Tensor]:
        """Memory of both halves (twice the rows while guidance is on), and guided next-token log-probabilities."""
        past, logits = self.denoiser.remember(self._rows(ids), self._condition(cond), past)
        return past, self._combine(logits)

    @property
    def _both(self) -> bool:
        return self.scale not in (0.0, 1.0)

    def _rows(self, x: Tensor) -> Tensor:
        return torch.cat([x, x]) if self._both else x

    def _condition(self, cond: Condition) -> Condition:
        if self._both:
            return cond.with_null() if self.negative is None else cond.beside(self.negative)
        if self.scale == 1:
            return cond
        if self.negative is not None:
            return self.negative
        return cond.drop(torch.ones(cond.mask.shape[0], dtype=torch.bool, device=cond.mask.device))

    def _combine(self, logits: Tensor) -> Tensor:
        log_probabilities = torch.log_softmax(
            logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1
        )
        if not self._both:
            return log_probabilities
        conditional, unconditional = log_probabilities.chunk(2)
        guided = unconditional + self.scale * (conditional - unconditional)
        guided = guided.masked_fill(conditional == -torch.inf, -torch.inf)  # what can't be written stays so
        if self.plausibility and self.scale > 1:
            least = conditional.amax(dim=-1, keepdim=True) + math.log(self.plausibility)
            guided = guided.masked_fill(conditional < least, -torch.inf)
        return torch.log_softmax(guided, dim=-1)
