"""Ancestral steps: each masked position is unmasked at the posterior's own rate, whatever the model predicts."""

from __future__ import annotations

from torch import Tensor

from sunfish.sampling.unmasking.base import PolicyFamily, uniform
from sunfish.types import StepInfo, UnmaskingPolicy


def ancestral(info: StepInfo) -> Tensor:
    """Unmask at the rate (alpha_s - alpha_t) / (1 - alpha_t): exact (MDLM, Sahoo et al. 2024, eq. 6)."""
    return uniform(info) < info.unmask_rate


EXACT = UnmaskingPolicy(ancestral, draws_tokens=True)
POLICY = PolicyFamily(lambda _: EXACT, state_kinds=("masks", "tokens", "vectors"))
