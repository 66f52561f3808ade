"""DDPM: steps of a gaussian process toward the mean of the clean embedding, with fresh noise (Ho et al. 2020)."""

from __future__ import annotations

from sunfish.sampling.unmasking.ancestral import ancestral
from sunfish.sampling.unmasking.base import PolicyFamily
from sunfish.types import UnmaskingPolicy

POLICY = PolicyFamily(lambda _: UnmaskingPolicy(ancestral), state_kinds=("vectors",))
