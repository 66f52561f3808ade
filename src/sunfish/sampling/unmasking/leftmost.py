"""Leftmost: in reading order."""

from __future__ import annotations

from torch import Tensor

from sunfish.sampling.unmasking.base import plain, scheduled_count
from sunfish.types import StepInfo


def leftmost(info: StepInfo) -> Tensor:
    """From left to right, ceil(masked * unmask_rate) positions of each row."""
    return info.masked.cumsum(dim=1) <= scheduled_count(info)


POLICY = plain(leftmost)
