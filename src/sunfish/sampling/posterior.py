"""Posterior infilling: what stands in a gap is drawn from p(fill, length | left, right, prompt) of the causal mode.

Sequential Monte Carlo over the prefixes of a fill. A prefix may end (a cut, whose weight is the likelihood of what
stands on the right) or continue with any token. All prefixes are different; the best are certain to be kept, and the
others are kept without bias (:func:`sunfish.sampling.smc.optimal_resampling`), so the weights add up to an unbiased
estimate of the likelihood of the given text. Several gaps are filled jointly: the particles that one gap leaves, each
with its own fill, enter the next one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from sunfish.model.kv_cache import KVCache
from sunfish.model.shared_prefix import SharedPrefixCache
from sunfish.rng import RowGenerators, refuse_nan, sample_categorical
from sunfish.sampling.canvas_hints import OpenGap, best_log_likelihood, hints_of
from sunfish.sampling.causal_mode import CausalMode, log_likelihoods
from sunfish.sampling.logits import penalize_repeats, seen_ids, warp
from sunfish.sampling.particles import Cut, Gap, Particles, Prefixes, kept_cuts, log_priorities, log_worth
from sunfish.sampling.smc import Kept, falling_order, optimal_resampling
from sunfish.utils import UsageError

NUM_CHILDREN = 32  # best next ids of a prefix that are looked at one by one; of the others one is drawn
LEAST_TEMPERATURE = 0.05  # of the likelihood of what is given
NEGLIGIBLE = 0.03  # share of all priority below which chance decides, at the most; see GapFiller.negligible
HOPELESS = 8.0  # below the best first id on the right so far, no cut is looked at any further; in nats
SOUGHT = 0.5  # what a hint says of each id that an earlier search left unlikely on the right
MAX_LOG_TILT = 8.0  # nats by which hints may raise the priority of a prefix
LOOKAHEAD = 5  # ids on the right, after the first, that compare cuts before all of the right weighs them


class GapFiller:
    """Fills the gaps of one text."""

    def __init__(
        self,
        mode: CausalMode,
        end: int,
        rng: RowGenerators,
        num_particles: int,
        sought: Collection[int] = (),
    ) -> None:
        """Prepare.

        Args:
            mode: The network.
            end: The end mark.
            rng: One generator.
            num_particles: How many texts are kept from gap to gap, and how many prefixes within one.
            sought: Ids; prefixes that contain one are preferred.
        """
        self.mode, self.end, self.rng, self.num_particles = mode, end, rng, num_particles
        self.sought = sorted(sought)
        self._seen = -torch.inf  # the best likelihood of the first id on the right so far, of this gap
        self.penalty = mode.config.repetition_penalty
        # The share of all priority below which a candidate is kept by chance only: more particles look further.
        self.negligible = min(NEGLIGIBLE, 1 / num_particles)
        # A temperature sharpens the whole posterior, the likelihood of what is given as well as what is drawn.
        self.sharpness = 1 / max(mode.config.temperature, LEAST_TEMPERATURE)

    @torch.inference_mode()
    def fill(self, left: list[int], gaps: Sequence[Gap]) -> Particles:
        """Fill ``gaps`` after ``left``, which begins with the start mark.

        Returns:
            Weighted texts: drawn by weight, one has the posterior distribution as the number of particles grows. The
            weights add up to an unbiased estimate of the likelihood of all that is given after ``left``, sharpened as
            the temperature says; at 1 it is the likelihood itself.

        Raises:
            UsageError: Nothing that can be drawn has the length of a gap.
            ValueError: The network returned NaN.
        """
        ids = torch.tensor([left], device=self.mode.device)
        zero = torch.zeros(1, dtype=torch.float64, device=self.mode.device)
        known = torch.full((1,), len(left) - 1, device=self.mode.device)
        cache, log_likelihood = None, zero
        if len(left) > 1:
            _, plain, cache = self.mode.prefill(ids[:, :-1], None, torch.zeros_like(known))
            cache, log_likelihood = SharedPrefixCache.of(cache), log_likelihoods(plain, ids[:, 1:]).sum(1)
            refuse_nan(log_likelihood[:, None])
        particles = Particles(
            [[]], zero, zero, log_likelihood, [[]], cache, known, ids[:, -1:], self.mode.is_given_prompt
        )
        for number, gap in enumerate(gaps, start=1):
            before = _text_before(left, gaps[: number - 1], particles) if self.penalty != 1 else None
            cuts = self.write(particles, gap, before)
            if not cuts:
                raise UsageError(
                    f"nothing that the model would write fits gap {number}, of {_shown(gap.lengths)} tokens; give it "
                    "other lengths, a higher temperature or a higher top_p"
                )
            particles = self.weigh(particles, cuts, gap, last=number == len(gaps))
        return particles

    def write(self, particles: Particles, gap: Gap, before: list[list[int]] | None = None) -> list[Cut]:
        """Continue each particle into its gap; return at most ``num_particles`` texts that may stand there.

        ``before``: the ids of each particle's text, whose repetition is penalized; None: there is no penalty.
        """
        count = len(particles.fills)
        zero = torch.zeros_like(particles.log_weights)
        alive = Prefixes(
            list(range(count)),
            [()] * count,
            particles.log_weights,
            particles.log_kept,
            particles.log_likelihood,
            zero,
        )
        asked = self._open_gap(particles, gap)
        hints = hints_of(asked, gap.right)
        sought = torch.zeros_like(hints[0])
        sought[self.sought] = SOUGHT
        attainable = functools.cache(
            lambda: self.sharpness * best_log_likelihood(asked, gap.right, 1 + LOOKAHEAD)
        )
        cache, known, newest = particles.cache, particles.known, particles.newest
        total = float(alive.log_weights.logsumexp(0))
        cuts: list[Cut] = []
        self._seen = -torch.inf
        for length in range(gap.lengths[-1] + 1):
            guided, plain, cache = self.mode.prefill(newest, cache, known)
            cache = cache.accept(known.tolist(), [1] * len(known), 1)
            guided, plain, known = guided[:, 0], plain[:, 0], known + 1
            if length in gap.lengths:
                found = float(log_priorities(cuts).logsumexp(0)) if cuts else -torch.inf
                cuts += self._cut(alive, plain, cache, known, gap, found)
            if length == gap.lengths[-1]:
                break
            guided = self._penalize(guided, alive, before)
            log_p, log_first = self._next(guided, plain, () if length else gap.first_ids)
            hint = torch.maximum(hints[length], sought) if length < len(hints) else sought
            ids, gain, tilt = self._children(log_p, hint)
            log_weights = ((alive.log_weights + log_first)[:, None] + gain).flatten()
            log_tilt = (alive.log_tilt[:, None] + tilt).clamp(max=MAX_LOG_TILT).flatten()
            worth = log_weights + log_tilt + log_worth(cuts, length, total, attainable)
            cuts, kept = self._resample(cuts, worth)
            if not len(kept.places):
                break
            rows, newest = kept.places // ids.shape[1], ids.flatten()[kept.places][:, None]
            alive = alive.extend(
                rows,
                newest[:, 0],
                log_weights[kept.places] - kept.log_probability,
                kept.log_probability,
                log_likelihoods(plain[rows], newest[:, 0]),
                log_tilt[kept.places],
            )
            known, cache = known[rows], cache.select(rows, self.mode.branches)
        best = self._keep(log_priorities(cuts), self.num_particles, self.negligible)
        return kept_cuts(cuts, best)

    def _cut(
        self, alive: Prefixes, plain: Tensor, cache: KVCache, known: Tensor, gap: Gap, found: float
    ) -> list[Cut]:
        """The prefixes that may end here, compared by the first ids on the right.

        Args:
            alive: The prefixes.
            plain: [A, V] next-token logits.
            cache: Of the prefixes, all of them known.
            known: [A].
            gap: The gap.
            found: Logarithm of the priorities of all cuts so far. No priority is above the likelihood of the first id
                on the right, so that much is spared the look at the ids after it.
        """
        right = torch.tensor(gap.right[: 1 + LOOKAHEAD], dtype=torch.long, device=self.mode.device)
        ahead = torch.zeros_like(alive.log_weights)
        if len(right):
            ahead = self.sharpness * log_likelihoods(plain, right[:1].expand(len(plain)))
        scores = alive.log_weights + ahead
        self._seen = max(self._seen, float(scores.max()))
        kept = self._keep(scores, self.num_particles, self.negligible, max(found, self._seen - HOPELESS))
        rows = kept.places
        ahead = potential = ahead[rows]
        if len(right) > 1 and len(rows):
            after = cache.rows(len(plain)).select(rows, 1)
            likelihoods = self.mode.evidence(right.expand(len(rows), -1), after, known[rows])
            ahead = ahead + self.sharpness * likelihoods.sum(1)
            later = likelihoods[:, (len(right) - 1) // 2 :].mean(1)
            potential = torch.maximum(ahead, self.sharpness * len(right) * later)
        log_weights = alive.log_weights[rows]
        columns = [
            log_weights,
            alive.log_kept[rows],
            alive.log_likelihood[rows],
            log_weights + ahead,
            potential,
            kept.log_probability,
        ]
        return [
            Cut(alive.parents[row], alive.ids[row], *numbers).divided_by(lost)
            for row, (*numbers, lost) in zip(rows.tolist(), torch.stack(columns, 1).tolist(), strict=True)
        ]

    def _penalize(self, guided: Tensor, alive: Prefixes, before: list[list[int]] | None) -> Tensor:
        """Guided logits ``[A, V]`` after the penalty for ids that stand in the text before each prefix, or in it."""
        if before is None:
            return guided
        texts = [[*before[parent], *ids] for parent, ids in zip(alive.parents, alive.ids, strict=True)]
        counts = torch.tensor([len(text) for text in texts], device=guided.device)
        width = int(counts.max())
        ids = torch.tensor([text + [self.end] * (width - len(text)) for text in texts], device=guided.device)
        return penalize_repeats(guided, self.penalty, seen_ids(ids, counts, guided.shape[-1]))

    def _next(self, guided: Tensor, plain: Tensor, first_ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What the next ids are drawn from, log-probabilities ``[A, V]``, and the evidence ``[A]`` of ``first_ids``.

        Where only some ids may begin a gap, the likelihood that one of them comes is evidence: the space before the gap
        is part of the given text, but it is spelled by the token after it.
        """
        refuse_nan(guided.amax(-1, keepdim=True))
        log_first = plain.new_zeros(len(plain), dtype=torch.float64)
        if first_ids:
            allowed = torch.zeros(plain.shape[-1], dtype=torch.bool, device=plain.device)
            allowed[torch.tensor(first_ids, device=plain.device)] = True
            log_first = self.sharpness * torch.log_softmax(plain.double(), -1)[:, allowed].logsumexp(-1)
            guided = guided.masked_fill(~allowed, -torch.inf)
        log_p = torch.log_softmax(warp(guided, self.mode.config).float(), -1)
        log_p[:, self.end] = -torch.inf  # a text may end there, but then it has no right side
        return log_p, log_first

    def _open_gap(self, particles: Particles, gap: Gap) -> OpenGap:
        """The gap that the canvas is asked about: after the text of the likeliest particle."""
        best = falling_order(particles.log_weights)[0]
        known, cache = int(particles.known[best]), particles.cache
        if cache is not None:
            cache = cache.select(best[None], self.mode.branches).trim(known)
        return OpenGap(self.mode, int(particles.newest[best]), cache, known, gap.lengths)

    def _children(self, log_p: Tensor, hint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best ids of each row of ``log_p [A, V]``, and one drawn among all others, with the weight of all.

        Args:
            log_p: What they are drawn from.
            hint: [V] how likely the canvas, or a search before this one, takes each id to be in this place.

        Returns:
            Ids, log-weights, and logarithms of how much the hint raises their priority, ``[A, C]``.
        """
        p = log_p.exp()
        raised = torch.where(p > 0, torch.maximum(p, hint / 2), 0.0)
        _, ids = raised.topk(min(NUM_CHILDREN, log_p.shape[1] - 1), dim=-1)
        rest = p.scatter(-1, ids, 0.0)
        mass = rest.sum(-1, keepdim=True)
        uniform = self.rng.uniform(1, len(log_p), device=log_p.device)[0]
        drawn = sample_categorical(torch.where(mass > 0, rest, 1.0), uniform)[:, None]
        tilt = (raised / p).log().gather(-1, ids).nan_to_num(0.0)
        tilt = torch.cat([tilt, torch.zeros_like(mass)], 1).double()
        return torch.cat([ids, drawn], 1), torch.cat([log_p.gather(-1, ids), mass.log()], 1).double(), tilt

    def _resample(self, cuts: list[Cut], children: Tensor) -> tuple[list[Cut], Kept]:
        """Thin out cuts, and by their log-priorities children, which are negligible if all cuts make them so."""
        priorities = log_priorities(cuts)
        total = float(torch.cat([priorities.to(children.device), children]).logsumexp(0))
        kept = self._keep(children, self.num_particles, self.negligible, total)
        return kept_cuts(cuts, self._keep(priorities, self.num_particles)), kept

    def _keep(
        self, log_priority: Tensor, count: int, negligible: float = 0.0, total: float = -torch.inf
    ) -> Kept:
        return optimal_resampling(log_priority, count, float(self.rng.uniform(1)), negligible, total)

    def weigh(self, particles: Particles, cuts: list[Cut], gap: Gap, last: bool) -> Particles:
        """The texts of ``cuts`` with what stands on their right, all of which weighs them."""
        device = self.mode.device
        parent = torch.tensor([cut.parent for cut in cuts], device=device)
        known = particles.known[parent]
        cache = particles.cache and particles.cache.select(parent, self.mode.branches)
        rows = [[int(particles.newest[cut.parent]), *cut.ids, *gap.right] for cut in cuts]
        width = max(map(len, rows))
        ids = torch.tensor([row + [self.end] * (width - len(row)) for row in rows], device=device)
        if last:
            logs = self.mode.evidence(ids, cache, known)
        else:
            _, plain, cache = self.mode.prefill(ids[:, :-1], cache, known)
            logs = log_likelihoods(plain, ids[:, 1:])
        lengths = torch.tensor([len(cut.ids) for cut in cuts], device=device)
        counts, place = lengths + len(gap.right), torch.arange(width - 1, device=device)
        on_right = (place >= lengths[:, None]) & (place < counts[:, None])
        before = [(cut.log_weight, cut.log_kept, cut.log_likelihood) for cut in cuts]
        log_weights, log_kept, log_likelihood = torch.tensor(before, dtype=torch.float64, device=device).T
        given = logs.masked_fill(~on_right, 0.0).sum(1)
        refuse_nan(given[:, None])
        return Particles(
            fills=[[*particles.fills[cut.parent], cut.ids] for cut in cuts],
            log_weights=log_weights + self.sharpness * given,
            log_kept=log_kept,
            log_likelihood=log_likelihood + given,
            log_likelihoods=[
                [*particles.log_likelihoods[cut.parent], row[len(cut.ids) :][: len(gap.right)]]
                for cut, row in zip(cuts, logs.tolist(), strict=True)
            ],
            cache=cache.accept(known.tolist(), counts.tolist(), width - 1) if cache and not last else None,
            known=known + counts,
            newest=ids.gather(1, counts[:, None]),
            is_given_prompt=particles.is_given_prompt,
        )


def _text_before(left: list[int], gaps: Sequence[Gap], particles: Particles) -> list[list[int]]:
    """The ids of each particle's text so far, which has filled ``gaps``."""
    texts = []
    for fills in particles.fills:
        parts = ([*fill, *gap.right] for fill, gap in zip(fills, gaps, strict=True))
        texts.append([*left, *itertools.chain.from_iterable(parts)])
    return texts


def _shown(lengths: range) -> str:
    return str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
