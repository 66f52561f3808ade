"""Prefix: from left to right for as long as the drawn tokens are jointly probable."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from sunfish.sampling.unmasking.base import PolicyFamily
from sunfish.types import StepInfo, UnmaskingPolicy


def prefix(info: StepInfo, level: float) -> Tensor:
    """From left to right while the tokens drawn so far have a joint probability of ``level``; at least one."""
    joint = info.confidence.masked_fill(~info.masked, 1.0).cumprod(dim=1)
    return (joint >= level) | (info.masked.cumsum(dim=1) <= 1)


POLICY = PolicyFamily(lambda level: UnmaskingPolicy(partial(prefix, level=level)), default=0.5)
