"""Sequential Monte Carlo: resampling that keeps the best and is unbiased, and how much a set of particles is worth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TIE = 1e-6  # nats: what resampling left equally likely differs by rounding only, which must decide nothing


class Kept(NamedTuple):
    """Which of N candidates resampling kept, and with what probability it did."""

    places: Tensor  # [M] their indexes
    log_probability: Tensor  # [M] float64


def optimal_resampling(
    log_priority: Tensor, count: int, uniform: float, negligible: float = 0.0, total: float = -torch.inf
) -> Kept:
    """Keep at most ``count`` of N candidates, each at most once, without bias.

    Those whose priority is above a threshold c are kept. Each of the others is kept with probability priority / c, by one
    systematic draw for all (Fearnhead and Clifford 2003, "On-line inference for hidden Markov models via particle
    filters", section 3). A weight divided by the probability of being kept has its old value as its mean.

    Args:
        log_priority: [N].
        count: How many at most.
        uniform: In [0, 1): the one random number.
        negligible: The threshold is at least this share of all priorities, so that fewer than ``count`` may be kept.
        total: The logarithm of what all priorities add up to, if it is more than that of these.

    Returns:
        What is kept, by falling priority.
    """
    order = falling_order(log_priority)
    order = order[log_priority[order] > -torch.inf]
    if not len(order):
        return Kept(order, log_priority.new_empty(0, dtype=torch.float64))
    logs = log_priority[order].double()
    scale = logs.logsumexp(0).clamp(min=total)
    priority = (logs - scale).exp()
    rest = priority.flip(0).cumsum(0).flip(0)  # of number i and all smaller ones
    threshold = priority.new_tensor(negligible)
    if len(order) > count:
        left = count - torch.arange(count, device=logs.device)
        above = int((priority[:count] * left > rest[:count]).int().cumprod(0).sum())
        threshold = torch.maximum(rest[above] / (count - above), threshold)
    kept = int((priority >= threshold).sum())
    probability = priority[kept:] / threshold
    cumulative = probability.cumsum(0)
    strata = torch.arange(len(probability), dtype=torch.float64, device=logs.device) + uniform
    strata = strata[strata < cumulative[-1]] if len(cumulative) else strata
    drawn = kept + torch.searchsorted(cumulative, strata, right=True)
    log_probability = torch.cat([torch.zeros_like(logs[:kept]), probability[drawn - kept].log()])
    return Kept(torch.cat([order[:kept], order[drawn]]), log_probability)


def falling_order(logs: Tensor) -> Tensor:
    """The indexes of ``logs [N]`` from the largest on; of equal ones the first comes first."""
    return (logs.double() / TIE).round().argsort(descending=True, stable=True)


def effective_sample_size(log_weights: Tensor, log_probability: Tensor, most: int) -> float:
    """How many independent draws would tell as much: 1 / sum w^2 (1 - pi), w normalized, at most ``most``.

    The variance of the sum of weights is estimated as Horvitz and Thompson 1952 do for samples drawn with probabilities
    pi; where these are small it is the usual (sum w)^2 / sum w^2 (Kong 1992). What was certain to be kept adds nothing.

    Args:
        log_weights: [K].
        log_probability: [K] of each particle to have come so far.
        most: The number of particles that there could be.
    """
    weights = torch.softmax(log_weights.double(), 0)
    variance = float((weights**2 * -torch.expm1(log_probability)).sum())
    return 1 / max(variance, 1 / most)
