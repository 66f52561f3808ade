"""Self-verified writing: the canvas drafts several tokens at once, the causal memory of the same model judges them.

Speculative sampling (Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318) with one network in
both roles. The texts have exactly the distribution of the model's autoregressive mode, guidance, temperature and
plausibility included, however bad the draft is; a good draft only makes it fast.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sunfish.randomness import Streams, draw, softmax
from sunfish.sampling import SamplingSettings, Snapshot, sharpen
from sunfish.types import Condition, Denoiser, Draft, Past, Process, Start


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

    Each round is one pass: it reads the newest token and the ``block_length - 1`` drafted behind it, and denoises a
    canvas of pure noise behind each of these; when it is judged which of them stand, the canvas behind the last one is
    the next draft. A round writes from 1 to ``block_length`` tokens of each row. A model whose canvas has a decoder of
    its own drafts in a second, small pass, which begins with the newest token. At block length 1 nothing is drafted:
    that is the autoregressive mode.

    Rows advance each at its own pace and do not depend on one another; a state is yielded when all rows have come that
    far, a draft where all stand at the same place. A row that has ended has the id ``end`` behind its end.
    ``num_steps`` has no part in it.
    """
    rows, begin = prefix.shape
    width, ends = settings.block_length, -1 if end is None else end
    drafted = width - 1
    text = prefix.new_full((rows, length + width), ends)
    text[:, :begin] = prefix
    written = torch.full((rows,), begin, device=prefix.device)
    going = torch.ones(rows, dtype=torch.bool, device=prefix.device)
    past = denoiser.remember(prefix[:, :-1], cond)[0] if begin > 1 else None
    settled, drafts = begin, None
    draft, draft_probabilities = prefix.new_empty(rows, 0), None
    while settled < length:
        newest = text.gather(1, written[:, None] - 1)
        ids = torch.cat([newest, draft], dim=1)
        if drafted:
            noise = ids.repeat_interleave(width, dim=1)
            t = torch.ones(noise.shape, device=noise.device)
            noise = process.corrupt(noise, t, denoiser.table, rng)
            start = _start(written - 1, ids.shape[1] + width, length)
            grown, logits, drafts = denoiser.read_and_draft(ids, cond, past, start, noise, t)
        else:
            grown, logits = denoiser.remember(ids, cond, past, _start(written - 1, 1, length))
        tokens, counts = judge(draft, draft_probabilities, softmax(sharpen(logits, settings)), rng)
        accepted = counts - 1
        counts = torch.where(going, counts.minimum(length - written), 0)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        if end is not None:
            ended = (tokens == end) & (place < counts[:, None])
            counts = torch.where(ended.any(1), ended.int().argmax(1) + 1, counts)
            going = going & ~ended.any(1)
            tokens = torch.where(going[:, None] | (place < counts[:, None]), tokens, end)
        text.scatter_(1, written[:, None] + place, tokens)
        past = _kept(grown, written - 1, counts, ids.shape[1])
        written = written + counts
        going = going & (written < length)
        reached = torch.where(going, written, length).amin() if bool(going.any()) else written.amax()
        if (now := int(reached)) > settled:
            yield Snapshot(settled, text[:, settled:now], True)
            settled = now
        if not bool(going.any()):
            return
        if drafted:
            if drafts is None:
                draft_of = _canvas_of_its_own(
                    denoiser, process, cond, past, text, written, width, length, rng
                )
            else:
                draft_of = drafts(accepted)
            newest = text.gather(1, written[:, None] - 1)
            draft, draft_probabilities = _written_down(draft_of, newest[:, 0], drafted, settings, rng)
            if bool((written == settled).all()):
                yield Snapshot(settled, draft[:, : length - settled], False)


def _written_down(
    draft_of: Draft, before: Tensor, count: int, settings: SamplingSettings, rng: Streams
) -> tuple[Tensor, Tensor]:
    """``count`` tokens behind ``before [B]``, ``[B, count]``, and the probabilities that they were drawn from."""
    uniform = rng.uniform(len(before), count, device=before.device)
    tokens, probabilities = [], []
    for i in range(count):
        probabilities.append(softmax(sharpen(draft_of(i, before), settings)))
        before = draw(probabilities[-1], uniform[:, i])
        tokens.append(before)
    return torch.stack(tokens, dim=1), torch.stack(probabilities, dim=1)


def _canvas_of_its_own(
    denoiser: Denoiser,
    process: Process,
    cond: Condition,
    past: Past,
    text: Tensor,
    written: Tensor,
    width: int,
    length: int,
    rng: Streams,
) -> Draft:
    """The draft of a canvas that begins with the newest token of each row."""
    known = text.gather(1, written[:, None] - 1).expand(-1, width)
    t = torch.ones(known.shape, device=known.device)
    t[:, 0] = 0.0
    canvas = process.corrupt(known, t, denoiser.table, rng)
    return denoiser.draft(canvas, t, cond, past, _start(written - 1, width, length))


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
    draft: Tensor, draft_probabilities: Tensor | None, target: Tensor, rng: Streams
) -> tuple[Tensor, Tensor]:
    """The accepted start of each row of ``draft [B, n]`` and one more token, distributed as ``target`` says.

    ``draft_probabilities [B, n, V]`` is what each drafted token was drawn from, ``target [B, n + 1, V]`` what the
    tokens after each position shall be drawn from. Token i is accepted with probability min(1, p_i / q_i); the first
    one that is not is replaced by a draw from max(0, p - q), normalised (Leviathan et al., section 2.3). Returns tokens
    ``[B, n + 1]``, and how many of each row count, ``[B]``, from 1 to n + 1.
    """
    rows, count = draft.shape
    accepted, last = torch.zeros(rows, dtype=torch.long, device=draft.device), target[:, count]
    if draft_probabilities is not None:
        p = target[:, :count].gather(-1, draft[..., None]).squeeze(-1)
        q = draft_probabilities.gather(-1, draft[..., None]).squeeze(-1)
        refused = rng.uniform(rows, count, device=draft.device) * q >= p
        accepted = torch.where(refused.any(1), refused.int().argmax(1), count)
        row, at = torch.arange(rows, device=draft.device), accepted.clamp(max=count - 1)
        rest = (target[row, at] - draft_probabilities[row, at]).clamp(min=0)
        last = torch.where((accepted < count)[:, None], rest, last)
    token = draw(last, rng.uniform(rows, device=draft.device))
    return torch.cat([draft, token[:, None]], dim=1).scatter(
        1, accepted[:, None], token[:, None]
    ), accepted + 1
