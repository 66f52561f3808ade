"""What posterior infilling keeps while it fills a gap: particles, prefixes of a fill, cuts, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.model.kv_cache import KVCache
from sunfish.rng import sample_categorical
from sunfish.sampling.smc import Kept

SURPRISE = 6.0  # nats that the right side may lose at a good cut
RARE = 9.0  # nats that all cuts together may fall short of the right side's worth, the fills' own likelihood included
FALL = -1.0  # nats by which the worth of going on falls with each token after a good cut


class Gap(NamedTuple):
    """A gap and the text on its right, up to the next gap or the end of the text, its end mark included."""

    lengths: range  # ids that the gap may have
    first_ids: Sequence[int]  # ids that may begin it; none: any may
    right: list[int]


class Particles(NamedTuple):
    """K different texts up to some place."""

    fills: list[list[tuple[int, ...]]]  # of each one, the ids in every gap so far
    log_weights: Tensor  # [K] float64; together they estimate the likelihood of what is given
    log_kept: Tensor  # [K] logarithm of the probability that resampling kept it
    log_likelihood: Tensor  # [K] float64, plain, of each text so far
    log_likelihoods: list[list[list[float]]]  # of each one, of all ids on the right of every gap so far
    cache: KVCache | None  # of all but the newest id
    known: Tensor  # [K] how many ids the cache has of each
    newest: Tensor  # [K, 1]
    is_given_prompt: bool  # whether ``log_likelihood`` is given the prompt, and nothing else

    def log_likelihood_of(self, index: int) -> float | None:
        """That of one text, given the prompt; None where it is not known."""
        return float(self.log_likelihood[index]) if self.is_given_prompt else None

    def only(self, right: Sequence[bool]) -> Particles:
        """The same particles, those that are not ``right`` without any weight."""
        wrong = ~torch.tensor(right, device=self.log_weights.device)
        return self._replace(log_weights=self.log_weights.masked_fill(wrong, -torch.inf))

    def draw(self, uniform: float) -> int:
        """The index of one of them, drawn by weight."""
        weights = torch.softmax(self.log_weights, 0)
        return int(sample_categorical(weights, weights.new_tensor(uniform)))


class Cut(NamedTuple):
    """A prefix that ends its gap."""

    parent: int  # the particle that it belongs to
    ids: tuple[int, ...]
    log_weight: float
    log_kept: float
    log_likelihood: float  # plain, of the text up to here
    log_priority: float  # the weight, times the likelihood of the first ids on the right
    log_potential: float  # that likelihood, were all of these ids as likely as those of the second half

    def divided_by(self, log_probability: float) -> Cut:
        """The same cut, after resampling has kept it with this probability."""
        return self._replace(
            log_weight=self.log_weight - log_probability,
            log_kept=self.log_kept + log_probability,
            log_priority=self.log_priority - log_probability,
        )


class Prefixes(NamedTuple):
    """A different prefixes of the fill, all of one length."""

    parents: list[int]
    ids: list[tuple[int, ...]]
    log_weights: Tensor  # [A]
    log_kept: Tensor  # [A]
    log_likelihood: Tensor  # [A] plain, of the text up to here
    log_tilt: Tensor  # [A] by how much hints raise their priority

    def extend(
        self,
        rows: Tensor,
        ids: Tensor,
        log_weights: Tensor,
        log_kept: Tensor,
        log_likelihood: Tensor,
        log_tilt: Tensor,
    ) -> Prefixes:
        """The prefixes of ``rows [K]`` with one id more each, whose own ``log_likelihood`` is ``[K]``."""
        pairs = list(zip(rows.tolist(), ids.tolist(), strict=True))
        longer = [(*self.ids[row], new) for row, new in pairs]
        parents = [self.parents[row] for row, _ in pairs]
        return Prefixes(
            parents,
            longer,
            log_weights,
            self.log_kept[rows] + log_kept,
            self.log_likelihood[rows] + log_likelihood,
            log_tilt,
        )


def log_priorities(cuts: Sequence[Cut]) -> Tensor:
    """Those of all ``cuts``, ``[K]`` float64."""
    return torch.tensor([cut.log_priority for cut in cuts], dtype=torch.float64)


def kept_cuts(cuts: Sequence[Cut], kept: Kept) -> list[Cut]:
    """What resampling leaves of ``cuts``, their weights made up for it."""
    pairs = zip(kept.places.tolist(), kept.log_probability.tolist(), strict=True)
    return [cuts[index].divided_by(log_probability) for index, log_probability in pairs]


def log_worth(cuts: Sequence[Cut], length: int, total: float, attainable: Callable[[], float]) -> float:
    """What a prefix is expected to find on the right, for each unit of weight.

    As long as the best cut leaves the beginning of the right side a surprise, while what follows is none, or the canvas
    says that more is ``attainable``, a better one is to be expected. So it is as long as the fills of all cuts are rare,
    such as a sentence that is cut off: then most of what the model would write has not ended yet. After that it is the
    evidence that cuts have found so far, and falls with every token after the best one. This decides what is kept and
    how soon writing ends, not the distribution.
    """
    if not cuts:
        return 0.0
    best = max(cuts, key=lambda cut: cut.log_priority)
    evidence = best.log_priority - best.log_weight
    potential = max(cut.log_potential for cut in cuts)
    if evidence < -SURPRISE:  # else nothing can be a surprise, and the canvas need not be asked
        potential = max(potential, attainable())
    found = float(log_priorities(cuts).logsumexp(0)) - total
    if evidence < potential - SURPRISE or found < potential - RARE:
        return max(found, potential - SURPRISE)
    return found + (length - len(best.ids)) * FALL
