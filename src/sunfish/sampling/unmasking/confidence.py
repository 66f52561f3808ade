"""Confidence: the tokens that were drawn with the highest probability."""

from __future__ import annotations

from torch import Tensor

from sunfish.sampling.unmasking.base import plain, top_k_by
from sunfish.types import StepInfo


def confidence(info: StepInfo) -> Tensor:
    """The ceil(masked * unmask_rate) most probable drawn tokens of each row.

    The low-confidence remasking of LLaDA (Nie et al. 2025, section 2.4), after MaskGIT (Chang et al. 2022).
    """
    return top_k_by(info.confidence, info)


POLICY = plain(confidence)
