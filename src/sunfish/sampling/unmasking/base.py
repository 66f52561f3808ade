"""What unmasking policies share: how they are described, and how many positions a step unmasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.types import StepInfo, UnmaskingPolicy


class PolicyFamily(NamedTuple):
    """A policy by name: how to build it from its number, and where it can be used."""

    build: Callable[[float], UnmaskingPolicy]
    state_kinds: tuple[str, ...] = ("masks",)  # of the processes whose steps understand it
    default: float | None = None  # the number where none is given; None: it takes none
    highest: float = 1.0  # of the number


def plain(unmask: Callable[[StepInfo], Tensor]) -> PolicyFamily:
    """A policy without a number, for masks."""
    return PolicyFamily(lambda _: UnmaskingPolicy(unmask))


def uniform(info: StepInfo) -> Tensor:
    """A uniform random number for each position, ``[B, N]``."""
    return info.rng.uniform(*info.masked.shape, device=info.masked.device)


def scheduled_count(info: StepInfo) -> Tensor:
    """How many positions of each row ``[B, 1]`` a step unmasks where the number follows the schedule."""
    masked = info.masked.sum(dim=1, keepdim=True).double()  # float32 would lose what is subtracted
    return torch.ceil(masked * info.unmask_rate - 1e-9)


def top_k_by(score: Tensor, info: StepInfo) -> Tensor:
    """The :func:`scheduled_count` masked positions with the highest ``score [B, N]``, ``[B, N]`` bool."""
    ranked = score.masked_fill(~info.masked, -1.0).argsort(dim=1, descending=True, stable=True)
    return ranked.argsort(dim=1) < scheduled_count(info)
