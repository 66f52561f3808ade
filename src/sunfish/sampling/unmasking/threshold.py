"""Threshold: every token that was drawn with enough probability."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from sunfish.sampling.unmasking.base import PolicyFamily
from sunfish.types import StepInfo, UnmaskingPolicy


def threshold(info: StepInfo, level: float) -> Tensor:
    """All tokens drawn with at least this probability, and the surest in any case (Fast-dLLM, Wu et al. 2025)."""
    confidence = info.confidence.masked_fill(~info.masked, -1.0)
    return (confidence >= level) | (confidence == confidence.amax(dim=1, keepdim=True))


POLICY = PolicyFamily(lambda level: UnmaskingPolicy(partial(threshold, level=level)), default=0.9)
