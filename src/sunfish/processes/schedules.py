"""Noise schedules alpha(t) with their derivatives, and the time grid that a sampler walks down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """alpha(t): the share of clean signal left at time t, falling from alpha(0) = 1 to alpha(1) = 0."""

    name: str
    alpha: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]

    def at(self, t: float) -> float:
        """alpha of one time, in float64."""
        return float(self.alpha(torch.tensor(t, dtype=torch.float64)))

    def weight(self, t: Tensor) -> Tensor:
        """-alpha'(t) / (1 - alpha(t)): the weight of the cross-entropy in the bound of masked diffusion.

        MDLM (Sahoo et al. 2024, eq. 10), MD4 (Shi et al. 2024, eq. 5). For log-linear it is 1/t.
        0 where t = 0, since a known token has no loss.
        """
        known = t <= 0
        safe = torch.where(known, torch.ones_like(t), t).double()  # 1 - alpha of a small time is 0 in float32
        weight = (-self.derivative(safe) / (1 - self.alpha(safe))).to(t.dtype)
        return torch.where(known, torch.zeros_like(t), weight)


# alpha(t) = 1 - t: the mask rate is the time (MDLM calls it log-linear, after its sigma(t)).
LOG_LINEAR = Schedule("log-linear", lambda t: 1 - t, lambda t: -torch.ones_like(t))


def time_grid(steps: int) -> list[float]:
    """``steps + 1`` evenly spaced times from 1 down to exactly 0."""
    return [1 - i / steps for i in range(steps)] + [0.0]
