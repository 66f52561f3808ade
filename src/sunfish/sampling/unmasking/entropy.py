"""Entropy: as many positions as can be drawn independently at a bounded cost."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from sunfish.sampling.unmasking.base import PolicyFamily
from sunfish.types import StepInfo, UnmaskingPolicy


def entropy_bounded(info: StepInfo, bound: float) -> Tensor:
    """The positions of least entropy, as many as have sum(entropy) - max(entropy) <= ``bound`` nats; at least one.

    That difference bounds what drawing them independently can cost (EB-sampler, Ben-Hamu et al. 2025, eq. 8).
    """
    log_probabilities = torch.log_softmax(info.logits.double(), dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities.clamp(min=-1e30)).sum(dim=-1)
    ascending, order = entropy.masked_fill(~info.masked, torch.inf).sort(dim=1, stable=True)
    cost = ascending.cumsum(dim=1) - ascending  # the largest of the first k is the k-th
    return torch.zeros_like(info.masked).scatter(1, order, cost <= bound)


POLICY = PolicyFamily(
    lambda bound: UnmaskingPolicy(partial(entropy_bounded, bound=bound)), default=0.1, highest=math.inf
)
