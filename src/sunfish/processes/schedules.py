"""Noise schedules alpha(t) with their derivatives, and the time grids that samplers walk down."""

from __future__ import annotations

import math
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
        """-alpha'(t) / (1 - alpha(t)): what weighs the cross-entropy in the bound of masked diffusion.

        MDLM (Sahoo et al. 2024, eq. 10), MD4 (Shi et al. 2024, eq. 5). For log-linear it is 1/t.
        Only meant for t > 0; 0 where t = 0, since a known token has no loss.
        """
        known = t <= 0
        safe = torch.where(known, torch.ones_like(t), t).double()  # 1 - alpha of a small time is 0 in float32
        weight = (-self.derivative(safe) / (1 - self.alpha(safe))).to(t.dtype)
        return torch.where(known, torch.zeros_like(t), weight)


# alpha(t) = 1 - t: the mask rate is the time (MDLM calls it log-linear, after its sigma(t)).
LOG_LINEAR = Schedule("log-linear", lambda t: 1 - t, lambda t: -torch.ones_like(t))
# alpha(t) = 1 - cos(pi/2 (1 - t)) (MaskGIT; MD4, table 1).
COSINE = Schedule(
    "cosine",
    lambda t: 1 - torch.cos(math.pi / 2 * (1 - t)),
    lambda t: -math.pi / 2 * torch.sin(math.pi / 2 * (1 - t)),
)
# alpha(t) = 1 - t^2: more of the times at low mask rates (MD4, table 1, polynomial with exponent 2).
POLYNOMIAL = Schedule("polynomial", lambda t: 1 - t**2, lambda t: -2 * t)
SCHEDULES: dict[str, Schedule] = {schedule.name: schedule for schedule in (LOG_LINEAR, COSINE, POLYNOMIAL)}


def get_schedule(name: str) -> Schedule:
    """The schedule ``name``; ``ValueError`` for another name."""
    if name not in SCHEDULES:
        raise ValueError(f"schedule is {name!r}; the schedules are: {', '.join(SCHEDULES)}")
    return SCHEDULES[name]


def time_grid(steps: int) -> list[float]:
    """``steps + 1`` evenly spaced times from 1 down to exactly 0. ``ValueError`` for fewer than one step."""
    if steps < 1:
        raise ValueError(f"num_steps is {steps}, but denoising needs at least 1 step")
    return [1 - i / steps for i in range(steps)] + [0.0]


def stratified_times(rows: int, columns: int, generator: torch.Generator | None) -> Tensor:
    """Uniform times ``[rows, columns]`` in (0, 1], one in each of rows * columns equal strata, shuffled.

    The low-discrepancy sampler of Variational Diffusion Models (Kingma et al. 2021, appendix I.1): each time is
    still uniform, and the mean over the batch has far less variance than with independent draws.
    """
    count = rows * columns
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    strata = (torch.randperm(count, generator=generator).double() + 1 - offset) / count
    return strata.float().clamp(min=torch.finfo(torch.float32).tiny).view(rows, columns)
