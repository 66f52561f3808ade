"""Classifier-free guidance: a function of two outputs, and the wrappers that make it a denoiser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sunfish.casts import at_least_float32
from sunfish.config.generation import check_guidance
from sunfish.model.denoiser import Denoiser, DenoiserWrapper
from sunfish.types import Condition
from sunfish.utils import UsageError

MAX_DIRECT_SCALE = 10_000.0  # above it float32 is too coarse, and in the end too small
LOWEST = -1e30  # stands for a logit of minus infinity
MAX_DISTILLED_SCALE = 4.0  # scales from 0 to this are taught to a network that takes the scale in


def classifier_free_guidance(
    conditional: Tensor, unconditional: Tensor, scale: float, plausibility: float = 0.0
) -> Tensor:
    """u + scale * (c - u) on logits, normalized.

    Ho and Salimans 2022 (eq. 6, with their weight w = scale - 1), on the clean-token distribution as in Schiff et al.
    2024 ("Simple guidance mechanisms for discrete diffusion models"). A constant for each position passes through the
    formula, so the result is normalized once, at the end.

    The difference says what the prompt favors, not what is good text: far above 1 it lifts tokens that neither side
    believes in. ``plausibility`` keeps it in bounds. It is ``min_p`` applied to the conditional model (the adaptive
    plausibility constraint of contrastive decoding, Li et al. 2023, arXiv:2210.15097, eq. 2).

    Args:
        conditional: [..., V] logits given the prompt.
        unconditional: [..., V] logits without it, or given a negative prompt.
        scale: 0 is unconditional, 1 plainly conditional, above 1 guided.
        plausibility: Above scale 1, drop tokens below this share of the likeliest one's conditional probability.

    Returns:
        [..., V] log-probabilities; NaN where a token that is not dropped has NaN, or positive infinity given the prompt.
    """
    if plausibility and scale > 1:
        floor = conditional.amax(dim=-1, keepdim=True) + math.log(plausibility)
    else:
        floor = conditional.new_tensor(torch.finfo(conditional.dtype).min)  # what can't be written stays so
    dropped = conditional < floor  # NaN is not: nothing may hide it
    unconditional = unconditional.clamp(
        min=LOWEST
    )  # else what this side rules out has an infinite difference
    if scale <= MAX_DIRECT_SCALE:
        guided = torch.lerp(unconditional, conditional, scale)
        return torch.log_softmax(torch.where(dropped, -torch.inf, guided), dim=-1)
    # (u + scale (c - u)) / scale, less its maximum; the scale comes last and cannot overflow.
    favored = conditional.double() - unconditional + unconditional.double() / scale
    favored = favored.masked_fill(dropped, -torch.inf)
    return torch.log_softmax(scale * (favored - favored.amax(dim=-1, keepdim=True)), dim=-1)


class ClassifierFreeGuidance(DenoiserWrapper):
    """:func:`classifier_free_guidance` from one forward pass over the rows of all branches.

    Branches are the prompts, further prompts, and no prompt. At scales 0 and 1 a branch that would be multiplied by zero
    is not run.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        plausibility: float = 0.0,
        negative: Condition | None = None,
        composed: Sequence[tuple[Condition, float]] = (),
    ) -> None:
        """Guide ``denoiser``.

        Args:
            denoiser: What is guided.
            scale: See :func:`classifier_free_guidance`.
            plausibility: Likewise.
            negative: Prompts to be steered away from, one a row, in place of no prompt.
            composed: Further prompts, one a row each, with their weights; the first prompt has weight 1. The conditional
                logits are then the weighted mean, a product of experts (Liu et al. 2022, arXiv:2206.01714, eq. 11).

        Raises:
            UsageError: A value is out of range.
        """
        check_guidance(scale, plausibility)
        super().__init__(denoiser)
        self.scale = scale
        self.plausibility = plausibility
        self.negative = negative
        self.composed = tuple(composed)
        self.num_branches = 1 if scale == 0 else 1 + len(self.composed) + (scale != 1)

    def prepare(self, condition: Condition) -> Condition:
        """The rows with their prompts, with further prompts, and without."""
        without = condition.without_prompts() if self.negative is None else self.negative
        if self.scale == 0:
            return without
        for other, _ in self.composed:
            condition = condition.concat(other)
        return condition if self.scale == 1 else condition.concat(without)

    def finish(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        """Guided log-probabilities; plain logits where there is nothing to combine."""
        logits = at_least_float32(logits)
        if self.num_branches == 1:
            return logits
        branches = logits.chunk(self.num_branches)
        conditional = branches[0]
        if self.composed:
            weights = [1.0, *(weight for _, weight in self.composed)]
            weighted = [weight * branch for weight, branch in zip(weights, branches, strict=False)]
            conditional = torch.stack(weighted).sum(0) / sum(weights)
        if self.scale == 1:
            return conditional
        return classifier_free_guidance(conditional, branches[-1], self.scale, self.plausibility)


class DistilledGuidance(DenoiserWrapper):
    """A network that takes the guidance scale in: what guidance makes of two passes, learned, in one.

    Meng et al. 2023, "On distillation of guided diffusion models" (arXiv:2210.03142).
    """

    def __init__(self, denoiser: Denoiser, scale: float) -> None:
        """Guide ``denoiser`` at ``scale``.

        Raises:
            UsageError: The scale was not taught.
        """
        if not 0 <= scale <= MAX_DISTILLED_SCALE:
            raise UsageError(
                f"guidance_scale is {scale:g}, but this checkpoint learned guidance for scales from 0 to "
                f"{MAX_DISTILLED_SCALE:g}; for other scales use its teacher's checkpoint"
            )
        super().__init__(denoiser)
        self.scale = scale

    def prepare(self, condition: Condition) -> Condition:
        """The prompts, with the scale as an input."""
        return condition.at_scale(self.scale)
