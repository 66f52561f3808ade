"""Remask: ancestral steps that also turn committed tokens back into masks (ReMDM, Wang et al. 2025)."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from sunfish.sampling.unmasking.base import PolicyFamily, uniform
from sunfish.types import StepInfo, UnmaskingPolicy


def unmask(info: StepInfo, cap: float) -> Tensor:
    """ReMDM's rate: what was remasked has to be unmasked again on top (eq. 5)."""
    alpha_t, alpha_s = info.alpha_t, info.alpha_s
    return uniform(info) < (alpha_s - (1 - remask_rate(info, cap)) * alpha_t) / (1 - alpha_t)


def remask(info: StepInfo, cap: float) -> Tensor:
    """Each committed token is masked again with probability sigma (ReMDM-cap, section 4.1)."""
    return uniform(info) < remask_rate(info, cap)


def remask_rate(info: StepInfo, cap: float) -> float:
    """sigma_t = min(cap, (1 - alpha_s) / alpha_t), the largest that keeps the marginals q(x_s | x_0)."""
    return min(cap, (1 - info.alpha_s) / info.alpha_t) if info.alpha_t > 0 else 0.0


POLICY = PolicyFamily(
    lambda cap: UnmaskingPolicy(partial(unmask, cap=cap), partial(remask, cap=cap)), default=0.05
)
