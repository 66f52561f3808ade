"""Self-verified writing: the canvas drafts several tokens at once, the causal memory of the same model judges them.

Speculative sampling (Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318) with one network in
both roles. The texts have exactly the distribution of the model's autoregressive mode, guidance, temperature and
plausibility included, however bad the draft is; a good draft only makes it fast. Lenience below 1 gives some of that
away for more tokens a round.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sunfish.config.sampling import SamplingSettings, verified_passes
from sunfish.rng import Streams, draw, softmax
from sunfish.sampling.block_diffusion import Snapshot
from sunfish.sampling.logits import sharpen
from sunfish.types import Condition, Denoiser, Draft, Past, Process, Start, State

TOLD = 2  # times that a draft is told its own likeliest tokens (docs/log.md)


@torch.inference_mode()
def verified_snapshots(
    denoiser: Denoiser,
    process: Process,
    cond: Condition,
    prefix: Tensor,
    length: int,
    rng: Streams,
    settings: SamplingSettings,
    end: int | None = None,
) -> Iterator[Snapshot]:
    """Continue ``prefix [B, n]`` up to ``length`` positions or the id ``end``; yield drafts, and what is final.

    Each round is a reading pass over the newest token and the ``block_length - 1`` drafted behind it, which judges and
    remembers them, and a pass over a canvas of pure noise behind what stands, which begins with the newest token and
    drafts the next ones; it writes from 1 to ``block_length`` tokens of each row. With one pass a round (``verified:1``)
    the reading pass denoises a canvas behind every token that it judges, and the one behind the last that stands is the
    next draft: fewer passes over more positions, for machines to which these cost little. It takes two for a model whose
    canvas has a decoder of its own. At block length 1 nothing is drafted: that is the autoregressive mode.

    Rows advance each at its own pace and do not depend on one another; a state is yielded when all rows have come that
    far, a draft where all stand at the same place. A row that has ended has the id ``end`` behind its end.
    ``num_steps`` has no part in it.
    """
    drafted, at_once = settings.block_length - 1, verified_passes(settings.sampler) == 1
    text = _Text(prefix, length, drafted + 1, end)
    past = denoiser.remember(prefix[:, :-1], cond)[0] if prefix.shape[1] > 1 else None
    draft, probabilities = prefix.new_empty(len(prefix), 0), None
    said: Draft | None = None  # of the canvas behind the newest token, where a pass has had it already
    while text.settled < length:
        newest, known = text.newest, text.written - 1
        if drafted and not at_once:
            noise, t = _noise(process, denoiser, newest.expand(-1, drafted + 1), rng, known=1)
            said = denoiser.draft(noise, t, cond, past, _start(known, drafted + 1, length))
        if said is not None:
            draft, probabilities = _written_down(said, newest, settings, rng)
            if bool((text.written == text.settled).all()):
                yield Snapshot(text.settled, draft[:, : length - text.settled], False)
        ids, drafts = torch.cat([newest, draft], dim=1), None
        if drafted and at_once:
            noise, t = _noise(process, denoiser, ids.repeat_interleave(drafted + 1, dim=1), rng)
            start = _start(known, ids.shape[1] + drafted + 1, length)
            past, logits, drafts = denoiser.read_and_draft(ids, cond, past, start, noise, t)
            at_once = drafts is not None
        else:
            past, logits = denoiser.remember(ids, cond, past, _start(known, ids.shape[1], length))
        tokens, counts = judge(
            draft, probabilities, softmax(sharpen(logits, settings)), rng, settings.lenience
        )
        said = None if drafts is None else drafts(counts - 1)
        counts = text.write(tokens, counts)
        past = _kept(past, known, counts, ids.shape[1])
        if (final := text.newly_settled()) is not None:
            yield final
        if not bool(text.going.any()):
            return


class _Text:
    """Rows that grow each at its own pace, ``[B, length]``, and how far all of them are final."""

    def __init__(self, prefix: Tensor, length: int, spare: int, end: int | None) -> None:
        """``spare``: how many ids a round may write beyond ``length``; nobody sees those."""
        rows, begin = prefix.shape
        self.length, self.end, self.settled = length, end, begin
        self.ids = prefix.new_full((rows, length + spare), -1 if end is None else end)
        self.ids[:, :begin] = prefix
        self.written = torch.full((rows,), begin, device=prefix.device)
        self.going = torch.ones(rows, dtype=torch.bool, device=prefix.device)

    @property
    def newest(self) -> Tensor:
        """The last id of each row, ``[B, 1]``."""
        return self.ids.gather(1, self.written[:, None] - 1)

    def write(self, tokens: Tensor, counts: Tensor) -> Tensor:
        """Append the first ``counts [B]`` of ``tokens [B, n]``, up to the end mark or the length; how many it were."""
        counts = torch.where(self.going, counts.minimum(self.length - self.written), 0)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        if self.end is not None:
            ended = (tokens == self.end) & (place < counts[:, None])
            counts = torch.where(ended.any(1), ended.int().argmax(1) + 1, counts)
            self.going = self.going & ~ended.any(1)
            tokens = torch.where(self.going[:, None] | (place < counts[:, None]), tokens, self.end)
        self.ids.scatter_(1, self.written[:, None] + place, tokens)
        self.written = self.written + counts
        self.going = self.going & (self.written < self.length)
        return counts

    def newly_settled(self) -> Snapshot | None:
        """What all rows have come to since the last time; rows that have ended wait for none."""
        reached = torch.where(self.going, self.written, self.length).amin()
        now, before = int(reached if bool(self.going.any()) else self.written.amax()), self.settled
        if now == before:
            return None
        self.settled = now
        return Snapshot(before, self.ids[:, before:now], True)


def _noise(
    process: Process, denoiser: Denoiser, ids: Tensor, rng: Streams, known: int = 0
) -> tuple[State, Tensor]:
    """Canvases of pure noise over ``ids [B, N]`` but for the first ``known`` ones, and their times ``[B, N]``."""
    t = torch.ones(ids.shape, device=ids.device)
    t[:, :known] = 0.0
    return process.corrupt(ids, t, denoiser.table, rng), t


def _written_down(
    draft: Draft, newest: Tensor, settings: SamplingSettings, rng: Streams
) -> tuple[Tensor, Tensor]:
    """Tokens ``[B, n]`` behind ``newest [B, 1]``, and the probabilities ``[B, n, V]`` that each was drawn from.

    The likeliest tokens are told to one another, which changes which are the likeliest, and told once more: Jacobi's
    iteration (Song et al. 2021, arXiv:2002.03629, section 3) for choosing them one after the other, which n times
    of it would be. Then all are drawn at once. What they are told depends on nothing that was drawn, so each has the
    probabilities that are returned, which is all that :func:`judge` asks of a draft.
    """
    logits = draft.alone
    for _ in range(TOLD):
        if draft.told is not None:
            likeliest = logits.argmax(dim=-1)
            logits = draft.told(torch.cat([newest, likeliest[:, :-1]], dim=1))
    probabilities = softmax(sharpen(logits, settings))
    return draw(probabilities, rng.uniform(*probabilities.shape[:2], device=newest.device)), probabilities


def _start(starts: Tensor, width: int, length: int) -> Start:
    """One number where all rows of ``starts [B]`` stand at the same place and the pass stays within the text."""
    first = int(starts[0])
    return first if first + width <= length and bool((starts == first).all()) else starts


def _kept(grown: Past, remembered: Tensor, counts: Tensor, width: int) -> Past:
    """The memory after a round: of each row its ``remembered [B]`` tokens, and the first ``counts [B]`` of the
    ``width`` new ones, which lie behind all old ones in ``grown``."""
    rows, old = len(counts), grown.shape[4] - width
    total = remembered + counts
    longest = int(total.amax())
    if bool((total == longest).all()) and bool((remembered == old).all()):
        return grown[..., :longest, :]
    slots = torch.arange(longest, device=grown.device)
    where = torch.where(slots < remembered[:, None], slots, old + slots - remembered[:, None])
    where = where.clamp(max=grown.shape[4] - 1).repeat(grown.shape[2] // rows, 1)
    return grown.gather(4, where[:, None, :, None].expand(*grown.shape[:4], -1, grown.shape[5]))


def judge(
    draft: Tensor, draft_probabilities: Tensor | None, target: Tensor, rng: Streams, lenience: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The accepted start of each row of ``draft [B, n]`` and one more token, distributed as ``target`` says.

    ``draft_probabilities [B, n, V]`` is what each drafted token was drawn from, ``target [B, n + 1, V]`` what the
    tokens after each position shall be drawn from. Token i is accepted with probability min(1, p_i / q_i); the first
    one that is not is replaced by a draw from max(0, p - q), normalised (Leviathan et al., section 2.3). ``lenience`` l
    has l q in place of q: more is accepted, and no token is written with more than 1 / l of its probability p, none at
    all where p is 0 (appendix A.5). Returns tokens ``[B, n + 1]``, and how many of each row count, ``[B]``, 1 to n + 1.
    """
    rows, count = draft.shape
    accepted, last = torch.zeros(rows, dtype=torch.long, device=draft.device), target[:, count]
    if draft_probabilities is not None:
        p = target[:, :count].gather(-1, draft[..., None]).squeeze(-1)
        q = lenience * draft_probabilities.gather(-1, draft[..., None]).squeeze(-1)
        refused = rng.uniform(rows, count, device=draft.device) * q >= p
        accepted = torch.where(refused.any(1), refused.int().argmax(1), count)
        row, at = torch.arange(rows, device=draft.device), accepted.clamp(max=count - 1)
        rest = (target[row, at] - lenience * draft_probabilities[row, at]).clamp(min=0)
        last = torch.where((accepted < count)[:, None], rest, last)
    token = draw(last, rng.uniform(rows, device=draft.device))
    return torch.cat([draft, token[:, None]], dim=1).scatter(
        1, accepted[:, None], token[:, None]
    ), accepted + 1
