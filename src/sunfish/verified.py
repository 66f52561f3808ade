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
from sunfish.types import Condition, Denoiser, Process


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
    """Continue ``prefix [1, n]`` up to ``length`` positions or the id ``end``; yield each draft, then its final ids.

    Each round is one canvas pass over the newest token and ``block_length - 1`` positions of pure noise, and one
    reading pass over the draft, which also remembers it; it writes from 1 to ``block_length`` tokens. At block length 1
    nothing is drafted: that is the autoregressive mode. ``cond`` holds one prompt. ``num_steps`` has no part in it.
    """
    newest, written = prefix[:, -1:], prefix.shape[1]
    past = denoiser.remember(prefix[:, :-1], cond)[0] if written > 1 else None
    while written < length:
        start = written - 1
        drafted = min(settings.block_length - 1, length - written)
        draft, draft_probabilities = prefix.new_empty(1, 0), None
        if drafted:
            known = newest.expand(1, 1 + drafted)
            t = torch.ones(known.shape, device=known.device)
            t[:, 0] = 0.0
            canvas = process.corrupt(known, t, denoiser.table, rng)
            logits = denoiser(canvas, t, cond, past, start)[:, 1:]
            draft_probabilities = softmax(sharpen(logits, settings))
            draft = draw(draft_probabilities, rng.uniform(1, drafted, device=canvas.device))
            yield Snapshot(written, draft, False)
        past, logits = denoiser.remember(torch.cat([newest, draft], dim=1), cond, past)
        target = softmax(sharpen(logits, settings))
        tokens = judge(draft, draft_probabilities, target, rng)[:, : length - written]
        if end is not None and bool((tokens == end).any()):
            tokens = tokens[:, : int((tokens == end).int().argmax()) + 1]
        yield Snapshot(written, tokens, True)
        if end is not None and int(tokens[0, -1]) == end:
            return
        written += tokens.shape[1]
        past, newest = past[..., : written - 1, :], tokens[:, -1:]


def judge(draft: Tensor, draft_probabilities: Tensor | None, target: Tensor, rng: Streams) -> Tensor:
    """The accepted start of ``draft [1, n]`` and one more token, ``[1, 1 .. n + 1]``, distributed as ``target`` says.

    ``draft_probabilities [1, n, V]`` is what each drafted token was drawn from, ``target [1, n + 1, V]`` what the
    tokens after each position shall be drawn from. Token i is accepted with probability min(1, p_i / q_i); the first
    one that is not is replaced by a draw from max(0, p - q), normalised (Leviathan et al., section 2.3).
    """
    count = draft.shape[1]
    accepted, last = 0, target[:, count]
    if draft_probabilities is not None:
        p = target[:, :count].gather(-1, draft[..., None]).squeeze(-1)
        q = draft_probabilities.gather(-1, draft[..., None]).squeeze(-1)
        refused = rng.uniform(1, count, device=draft.device) * q >= p
        if bool(refused.any()):
            accepted = int(refused.int().argmax())
            last = (target[:, accepted] - draft_probabilities[:, accepted]).clamp(min=0)
        else:
            accepted = count
    token = draw(last, rng.uniform(1, device=draft.device))
    return torch.cat([draft[:, :accepted], token[:, None]], dim=1)
