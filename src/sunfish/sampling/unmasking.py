"""How samplers differ: which positions one denoising step commits, and which it reopens. One small function each.

A sampler is named as NAME or NAME:NUMBER, for example ``threshold:0.9``. All of them run in the one loop of
``sunfish.sampling.block_diffusion``; whatever is still open at time 0 is committed there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sunfish.config.sampling import VERIFIED
from sunfish.types import Proposal, Sampler


def ancestral(proposal: Proposal) -> Tensor:
    """Each open position at the posterior's own rate, whatever the model thinks of it: exact (MDLM eq. 6)."""
    return _uniform(proposal) < proposal.reveal


def first_hitting(proposal: Proposal) -> Tensor:
    """ceil(open * reveal) random positions of each row: with a step for each position exactly one at a time.

    The order, not the times, decides the distribution (Zheng et al. 2024, arXiv:2409.02908, section 4.1).
    """
    return _best(proposal, _uniform(proposal))


def confidence(proposal: Proposal) -> Tensor:
    """The ceil(open * reveal) tokens that were drawn with the highest probability in each row.

    The low-confidence remasking of LLaDA (Nie et al. 2025, section 2.4), after MaskGIT (Chang et al. 2022).
    """
    return _best(proposal, proposal.confidence)


def leftmost(proposal: Proposal) -> Tensor:
    """From left to right, ceil(open * reveal) positions of each row: the order of reading."""
    return proposal.open.cumsum(dim=1) <= _count(proposal)


def prefix(proposal: Proposal, level: float) -> Tensor:
    """From left to right as long as the tokens drawn so far have a joint probability of ``level``; at least one."""
    chance = proposal.confidence.masked_fill(~proposal.open, 1.0).cumprod(dim=1)
    return (chance >= level) | (proposal.open.cumsum(dim=1) <= 1)


def threshold(proposal: Proposal, level: float) -> Tensor:
    """All tokens drawn with at least this probability, and the surest in any case (Fast-dLLM, Wu et al. 2025)."""
    sure = proposal.confidence.masked_fill(~proposal.open, -1.0)
    return (sure >= level) | (sure == sure.amax(dim=1, keepdim=True))


def entropy_bounded(proposal: Proposal, bound: float) -> Tensor:
    """The positions of least entropy, as many as have sum(entropy) - max(entropy) <= ``bound`` nats; at least one.

    That difference bounds what drawing them independently can cost (EB-sampler, Ben-Hamu et al. 2025, eq. 8).
    """
    log_probabilities = torch.log_softmax(proposal.logits.double(), dim=-1)
    entropy = -(log_probabilities.exp() * log_probabilities.clamp(min=-1e30)).sum(dim=-1)
    ordered, order = entropy.masked_fill(~proposal.open, torch.inf).sort(dim=1, stable=True)
    cost = ordered.cumsum(dim=1) - ordered  # sorted upwards, so the largest of the first k is the k-th
    return torch.zeros_like(proposal.open).scatter(1, order, cost <= bound)


def remask_commit(proposal: Proposal, cap: float) -> Tensor:
    """The rate of ReMDM: what was reopened has to be committed again on top (Wang et al. 2025, eq. 5)."""
    a_t, a_s = proposal.alpha_t, proposal.alpha_s
    return _uniform(proposal) < (a_s - (1 - _remask_rate(proposal, cap)) * a_t) / (1 - a_t)


def remask_reopen(proposal: Proposal, cap: float) -> Tensor:
    """Each committed token is masked again with probability sigma (ReMDM-cap, section 4.1)."""
    return _uniform(proposal) < _remask_rate(proposal, cap)


def _remask_rate(proposal: Proposal, cap: float) -> float:
    """sigma_t = min(cap, (1 - alpha_s) / alpha_t), the largest that keeps the marginals q(x_s | x_0)."""
    return min(cap, (1 - proposal.alpha_s) / proposal.alpha_t) if proposal.alpha_t > 0 else 0.0


def _uniform(proposal: Proposal) -> Tensor:
    return proposal.rng.uniform(*proposal.open.shape, device=proposal.open.device)


def _count(proposal: Proposal) -> Tensor:
    """How many positions of each row ``[B, 1]`` this step commits where the number follows the schedule."""
    return torch.ceil(proposal.open.sum(dim=1, keepdim=True) * proposal.reveal - 1e-9)


def _best(proposal: Proposal, score: Tensor) -> Tensor:
    rank = score.masked_fill(~proposal.open, -1.0).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return rank < _count(proposal)


@dataclass(frozen=True)
class Kind:
    """A sampler by name: how to build it from its number, the number's default (None: it has none) and range."""

    build: Callable[[float], Sampler]
    default: float | None = None
    highest: float = 1.0


def _plain(commit: Callable[[Proposal], Tensor]) -> Kind:
    return Kind(lambda _: Sampler(commit))


EXACT = Sampler(ancestral, draws=True)
SAMPLERS: dict[str, Kind] = {
    "ancestral": Kind(lambda _: EXACT),
    "first-hitting": _plain(first_hitting),
    "confidence": _plain(confidence),
    "leftmost": _plain(leftmost),
    "prefix": Kind(lambda level: Sampler(partial(prefix, level=level)), 0.5),
    "threshold": Kind(lambda level: Sampler(partial(threshold, level=level)), 0.9),
    "entropy": Kind(lambda bound: Sampler(partial(entropy_bounded, bound=bound)), 0.1, math.inf),
    "ddpm": _plain(ancestral),
    "ddim": Kind(lambda eta: Sampler(ancestral, eta=eta), 0.0),
    "sde": Kind(lambda _: Sampler(ancestral, extrapolates=True)),
    "remask": Kind(
        lambda cap: Sampler(partial(remask_commit, cap=cap), partial(remask_reopen, cap=cap)), 0.05
    ),
}


def get_sampler(name: str) -> Sampler:
    """The sampler ``NAME`` or ``NAME:NUMBER``; ``ValueError`` for any other name or number."""
    kind, colon, text = name.partition(":")
    if kind not in SAMPLERS:
        raise ValueError(f"sampler is {name!r}; the samplers are: {', '.join(SAMPLERS)}, {VERIFIED}")
    known = SAMPLERS[kind]
    if not colon:
        return known.build(known.default or 0.0)
    if known.default is None:
        raise ValueError(f"sampler is {name!r}, but {kind} takes no number")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= known.highest:
        raise ValueError(
            f"sampler is {name!r}: give {kind} a number from 0 to {known.highest:g}, such as {kind}:{known.default:g}"
        )
    return known.build(number)
