"""Speculative decoding with one network: the canvas drafts several tokens, the causal mode verifies them.

Speculative sampling (Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318) with one network in
both roles. The texts have exactly the distribution of the model's autoregressive mode, guidance, temperature and
plausibility included, however bad the draft is; a good draft only makes it fast. Lenience below 1 gives some of that
away for more tokens a round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.denoiser import Denoiser
from sunfish.model.draft import Draft
from sunfish.rng import RowGenerators, gumbel_noise, sample_categorical, softmax
from sunfish.sampling.block_diffusion import Snapshot
from sunfish.sampling.logits import penalize_repeats, seen_before, seen_ids, warp
from sunfish.types import Condition, Process, Start, State

# Ids that the tokens of a draft are drawn from, and how often they are drawn
# (docs/experiments/2026-11-drafts-share-candidates.md).
NUM_CANDIDATES, MAX_ITERATIONS = 256, 3
TINY = 1e-30  # below what float64 can add to any probability


@torch.inference_mode()
def speculative_decoding(
    denoiser: Denoiser,
    process: Process,
    condition: Condition,
    prefix: Tensor,
    length: int,
    rng: RowGenerators,
    config: GenerationConfig,
    end: int | None = None,
) -> Iterator[Snapshot]:
    """Continue a prefix; yield drafts, and what is final.

    Each round is a causal pass over the newest token and the ``block_length - 1`` drafted after it, which verifies them
    and fills the cache, and a canvas pass over pure noise after the text, which begins with the newest token and drafts
    the next ones; it writes from 1 to ``block_length`` tokens of each row. With one pass a round (``verified:1``) the
    causal pass denoises a canvas after every token that it verifies, and the one after the last accepted token is the
    next draft: fewer passes over more positions, for machines to which these cost little. At block length 1 nothing is
    drafted: that is the autoregressive mode.

    Each row advances at its own pace and depends on no other. A state is yielded once all rows have reached it, a draft
    where all rows are at the same position. A row that has ended is filled up with the id ``end``.

    Args:
        denoiser: Drafts and verifies; guided or not.
        process: Its corruption, for the noise of the canvases.
        condition: The encoded prompts.
        prefix: [B, n] clean ids.
        length: How many positions a row has at the most.
        rng: One generator a row.
        config: Block length, lenience, and how tokens are drawn; ``num_steps`` has no part in it.
        end: The id that ends a text; None: every row is written to ``length``.

    Yields:
        Snapshots.
    """
    drafted = min(config.block_length, length) - 1  # no draft is longer than the text
    single_pass = config.passes_per_round == 1
    text = _Text(prefix, length, end)
    cache = denoiser.prefill(prefix[:, :-1], condition)[1] if prefix.shape[1] > 1 else None
    draft_ids, draft_probabilities = prefix.new_empty(len(prefix), 0), None
    draft: Draft | None = None  # of the canvas after the newest token
    while text.settled < length:
        newest = text.newest
        if drafted and not single_pass:
            noise, t = _fully_noised(process, newest.expand(-1, drafted + 1), rng, known=1)
            draft = denoiser.draft(noise, t, condition, cache, text.start(drafted + 1))
        if draft is not None:
            draft_ids, draft_probabilities = sample_draft(
                draft, newest, config, rng, text.seen(draft.vocab_size, config)
            )
            if set(text.written) == {text.settled}:
                yield Snapshot(text.settled, draft_ids[:, : length - text.settled], False)
        ids = torch.cat([newest, draft_ids], dim=1)
        if drafted and single_pass:
            noise, t = _fully_noised(process, ids.repeat_interleave(drafted + 1, dim=1), rng)
            start = text.start(ids.shape[1] + drafted + 1)
            logits, cache, draft_at = denoiser.prefill_and_draft(ids, noise, t, condition, cache, start)
        else:
            logits, cache = denoiser.prefill(ids, condition, cache, text.start(ids.shape[1]))
        seen = seen_before(text.seen(logits.shape[-1], config), draft_ids)
        target = softmax(warp(penalize_repeats(logits, config.repetition_penalty, seen), config))
        tokens, counts = speculative_accept(draft_ids, draft_probabilities, target, rng, config.lenience)
        if drafted and single_pass:
            draft = draft_at(counts - 1)
        known = text.known
        cache = cache.accept(known, text.write(tokens, counts), ids.shape[1])
        if (final := text.newly_settled()) is not None:
            yield final
        if not any(text.going):
            return


class _Text:
    """Rows ``[B, length]`` that each grow at their own pace, and how far all of them are final.

    Counts are Python's numbers: to ask a tensor takes longer, and on a GPU it waits for all that was computed before.
    """

    def __init__(self, prefix: Tensor, length: int, end: int | None) -> None:
        rows, begin = prefix.shape
        self.length, self.end, self.settled = length, end, begin
        self.ids = prefix.new_full((rows, length), -1 if end is None else end)
        self.ids[:, :begin] = prefix
        self.written = [begin] * rows
        self.going = [True] * rows

    @property
    def known(self) -> list[int]:
        """How many ids of each row are before its last one."""
        return [written - 1 for written in self.written]

    @property
    def newest(self) -> Tensor:
        """The last id of each row, ``[B, 1]``."""
        return self.ids.gather(1, torch.tensor(self.known, device=self.ids.device)[:, None])

    def start(self, width: int) -> Start:
        """Where a pass of ``width`` positions from the last ids on begins.

        It is one number where all rows stand at the same place and the pass stays within the text.
        """
        known = self.known
        if known[0] + width <= self.length and len(set(known)) == 1:
            return known[0]
        return torch.tensor(known, device=self.ids.device)

    def seen(self, vocab_size: int, config: GenerationConfig) -> Tensor | None:
        """Which of the ids each row has, ``[B, V]`` bool; None where no repeat is penalized."""
        if config.repetition_penalty == 1:
            return None
        return seen_ids(self.ids, torch.tensor(self.written, device=self.ids.device), vocab_size)

    def write(self, tokens: Tensor, counts: Tensor) -> list[int]:
        """Append the first ``counts [B]`` of ``tokens [B, n]``, up to the end mark or the length; returns how many."""
        kept = []
        for row, (new, count) in enumerate(zip(tokens.tolist(), counts.tolist(), strict=True)):
            written = self.written[row]
            count = min(count, self.length - written) if self.going[row] else 0
            ended = self.end in new[:count]
            count = new.index(self.end) + 1 if ended else count
            self.ids[row, written : written + count] = tokens[row, :count]
            self.written[row] = written + count
            self.going[row] = self.going[row] and not ended and written + count < self.length
            kept.append(count)
        return kept

    def newly_settled(self) -> Snapshot | None:
        """What has become final in all rows since the last call; rows that have ended hold up none."""
        going = [written for written, going in zip(self.written, self.going, strict=True) if going]
        now, before = min(going) if going else max(self.written), self.settled
        if now == before:
            return None
        self.settled = now
        return Snapshot(before, self.ids[:, before:now], True)


def _fully_noised(process: Process, ids: Tensor, rng: RowGenerators, known: int = 0) -> tuple[State, Tensor]:
    """Canvases of pure noise over ``ids [B, N]``, less the first ``known`` ones, and their times ``[B, N]``."""
    t = torch.ones(ids.shape, device=ids.device)
    t[:, :known] = 0.0
    return process.corrupt(ids, t, rng), t


def sample_draft(
    draft: Draft,
    newest: Tensor,
    config: GenerationConfig,
    rng: RowGenerators,
    seen: Tensor | None = None,
    iterations: int = MAX_ITERATIONS,
) -> tuple[Tensor, Tensor]:
    """Draw the tokens of a draft, and say what each was drawn from.

    With a draft head each is drawn given the two before it. They are drawn all at once, from the same noise again and
    again, each time given the tokens of the time before: Jacobi iteration (Song et al. 2021, arXiv:2002.03629, section
    3). After n times the first n are what they would be if they were drawn one after the other, and when none changes,
    all are. What a token is given never depends on its own noise, so at any time it has the probabilities that are
    returned, which is all that :func:`speculative_accept` asks of a draft.

    Args:
        draft: Logits of n places.
        newest: [B, 1] the id before them.
        config: How tokens are drawn.
        rng: One generator a row.
        seen: [B, V] bool, the ids that the text has and that a penalty makes rarer; None: there is no penalty.
        iterations: How often they are drawn at the most.

    Returns:
        Ids [B, n], and the probabilities [B, n, V] that they were drawn from.
    """
    # A token that is no candidate can be drawn only where the draft is verified.
    candidates, ids = draft.likely_ids(num_candidates(draft.vocab_size), len(newest))
    at_places = candidates[:, None].expand(-1, ids.shape[1], -1)
    noise = gumbel_noise(rng.uniform(*at_places.shape, device=newest.device))
    if draft.conditional_logits is not None:
        logits_given = draft.conditional_logits(candidates)
    else:
        logits_given = _always(draft.marginal_logits(len(newest)).gather(2, at_places))
    for _ in range(iterations):
        logits = logits_given(torch.cat([newest, ids[:, :-1]], dim=1))
        before = seen_before(seen, ids[:, :-1])
        before = None if before is None else before.gather(2, at_places)
        logits = warp(penalize_repeats(logits, config.repetition_penalty, before), config)
        drawn = candidates.gather(1, (logits + noise).argmax(dim=-1))
        if torch.equal(drawn, ids):
            break
        ids = drawn
    shares = softmax(logits)
    whole = shares.new_zeros(*shares.shape[:2], draft.vocab_size)
    return ids, whole.scatter_(-1, at_places, shares)


def num_candidates(size: int) -> int:
    """K: how many ids the tokens of a draft are drawn from, of ``size``."""
    return min(NUM_CANDIDATES, size)


def _always(logits: Tensor) -> Callable[[Tensor], Tensor]:
    """What says the same whatever it is given."""
    return lambda ids: logits


def speculative_accept(
    draft_ids: Tensor,
    draft_probabilities: Tensor | None,
    target: Tensor,
    rng: RowGenerators,
    lenience: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Accept the start of each row of a draft and draw one more token, distributed as ``target`` says.

    Token i is accepted with probability min(1, p_i / q_i); the first one that is not is replaced by a draw from
    max(0, p - q), normalized (Leviathan et al. 2023, section 2.3). ``lenience`` l has l q in place of q: more is
    accepted, and no token is written with more than 1 / l of its probability p, none at all where p is 0 (appendix A.5).

    Args:
        draft_ids: [B, n].
        draft_probabilities: [B, n, V] what each drafted token was drawn from; None where n is 0.
        target: [B, n + 1, V] what the tokens after each position shall be drawn from.
        rng: One generator a row.
        lenience: In (0, 1]; 1 is exact.

    Returns:
        Tokens [B, n + 1], and how many of each row count [B], 1 to n + 1.
    """
    rows, count = draft_ids.shape
    accepted, last = torch.zeros(rows, dtype=torch.long, device=draft_ids.device), target[:, count]
    if draft_probabilities is not None:
        p = target[:, :count].gather(-1, draft_ids[..., None]).squeeze(-1)
        q = lenience * draft_probabilities.gather(-1, draft_ids[..., None]).squeeze(-1)
        kept = rng.uniform(rows, count, device=draft_ids.device) * q < p  # never where p is NaN
        accepted = kept.cumprod(1).sum(1)
        row, place = torch.arange(rows, device=draft_ids.device), accepted.clamp(max=count - 1)
        whole = target[row, place]
        residual = (whole - lenience * draft_probabilities[row, place]).clamp(min=0)
        residual = residual.add(whole, alpha=TINY)  # all there is where p = q but for rounding
        last = torch.where((accepted < count)[:, None], residual, last)
    token = sample_categorical(last, rng.uniform(rows, device=draft_ids.device))[:, None]
    return torch.cat([draft_ids, token], dim=1).scatter(1, accepted[:, None], token), accepted + 1
