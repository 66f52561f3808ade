"""From logits to what is drawn: which ids there are, repeated tokens, temperature, the likeliest tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.casts import at_least_float32
from sunfish.config import GenerationConfig
from sunfish.model.denoiser import Denoiser, DenoiserWrapper

MIN_TEMPERATURE = 0.001  # below it, and above its inverse, float32 may not hold the quotients


class VocabularyMask(DenoiserWrapper):
    """A denoiser whose logits ``[B, N, size]`` end where its tokenizer ends; ``banned_ids`` have no probability.

    A model may have more rows than its tokenizer has ids: the vocabulary of a size is fixed, a small corpus or
    ``--tokenizer bytes`` does not fill it, and before training the spare rows are as likely as any.
    """

    def __init__(self, denoiser: Denoiser, size: int, banned_ids: Sequence[int] = ()) -> None:
        super().__init__(denoiser)
        self.vocab_size = size
        self.banned_ids = list(banned_ids)

    def finish(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        """Cut spare ids off and rule out banned ones; ``ids`` have no spare ones among them."""
        if ids is None:
            logits = logits[..., : self.vocab_size]
        if not self.banned_ids:
            return logits
        banned = torch.tensor(self.banned_ids, device=logits.device)
        if ids is None:
            return logits.index_fill(-1, banned, -torch.inf)
        return logits.masked_fill(torch.isin(ids, banned)[:, None], -torch.inf)


def seen_ids(ids: Tensor, counts: Tensor, size: int) -> Tensor:
    """Which of ``size`` ids are among the first ``counts [B]`` of ``ids [B, N]``: ``[B, size]`` bool.

    The first one is the start mark and does not count.
    """
    counted = torch.arange(1, ids.shape[1], device=ids.device) < counts[:, None]
    times = torch.zeros(len(ids), size, dtype=torch.long, device=ids.device)
    return times.scatter_add(1, ids[:, 1:].clamp(0, size - 1), counted.long()) > 0


def seen_before(seen: Tensor | None, ids: Tensor) -> Tensor | None:
    """Which ids a text has before each place of a continuation, ``[B, n + 1, V]`` bool.

    Args:
        seen: [B, V] bool, those of the text; None: nobody asks.
        ids: [B, n] the continuation; place i comes after its first i ids.
    """
    if seen is None:
        return None
    new = F.one_hot(ids, seen.shape[-1]).cumsum(1) > 0
    return seen[:, None] | F.pad(new, (0, 0, 1, 0))


def penalize_repeats(logits: Tensor, penalty: float, seen: Tensor | None) -> Tensor:
    """Divide positive logits of seen ids by ``penalty`` and multiply negative ones.

    Keskar et al. 2019 (arXiv:1909.05858, section 4.1), with negative logits as in Hugging Face's
    ``RepetitionPenaltyLogitsProcessor``.

    Args:
        logits: [..., V], after guidance and before the temperature.
        penalty: Above 1 makes repeated tokens rarer.
        seen: [..., V] bool, the ids that the text has before each place; None: the logits stay as they are.
    """
    if seen is None:
        return logits
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def warp(logits: Tensor, config: GenerationConfig) -> Tensor:
    """:func:`warp_logits` by the settings of a text."""
    return warp_logits(logits, config.temperature, config.top_p, config.top_k, config.min_p)


def warp_logits(
    logits: Tensor, temperature: float, top_p: float = 1.0, top_k: int = 0, min_p: float = 0.0
) -> Tensor:
    """Logits at a temperature, cut to their likeliest tokens.

    The order is that of Hugging Face's ``generate``: temperature, ``top_k``, ``top_p``, ``min_p``; each sees what the
    one before it has left. The nucleus (Holtzman et al. 2020, arXiv:1904.09751, eq. 3) is the smallest set of likeliest
    tokens whose probability reaches ``top_p``. ``min_p`` is of Nguyen et al. 2024 (arXiv:2407.01082, eq. 2).

    Args:
        logits: [..., V].
        temperature: Below 1 sharpens; 0 puts everything on the likeliest token.
        top_p: In (0, 1]; 1 keeps every token.
        top_k: Keep so many, and others that are as likely as the last of them; 0 keeps every token.
        min_p: Keep tokens with at least this share of the likeliest one's probability, in [0, 1].

    Returns:
        [..., V], at least float32; NaN where the logits hold NaN or positive infinity.
    """
    logits = at_least_float32(logits)
    if temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)
        value = logits.gather(-1, best)
        return torch.full_like(logits, -torch.inf).scatter_(-1, best, value - value)  # 0, or NaN
    if not MIN_TEMPERATURE <= temperature <= 1 / MIN_TEMPERATURE:
        logits = (logits - logits.amax(dim=-1, keepdim=True)).double()
    if temperature != 1:
        logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        last = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < last, -torch.inf)
    if top_p < 1:
        descending, order = torch.softmax(logits.double(), dim=-1).sort(dim=-1, descending=True)
        before = descending.cumsum(dim=-1) - descending
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(outside, -torch.inf)
    if min_p > 0:
        floor = logits.amax(dim=-1, keepdim=True) + math.log(min_p)
        logits = logits.masked_fill(logits < floor, -torch.inf)
    return logits
