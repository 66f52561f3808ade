"""DDIM: steps of a gaussian process with the share eta of fresh noise, none by default (Song et al. 2021)."""

from __future__ import annotations

from sunfish.sampling.unmasking.ancestral import ancestral
from sunfish.sampling.unmasking.base import PolicyFamily
from sunfish.types import UnmaskingPolicy

POLICY = PolicyFamily(lambda eta: UnmaskingPolicy(ancestral, eta=eta), state_kinds=("vectors",), default=0.0)
