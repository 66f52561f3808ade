"""From logits to what is drawn: which ids there are, temperature, the nucleus."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sunfish.model.denoiser import Denoiser, DenoiserWrapper

MIN_TEMPERATURE = 0.001  # below it, and above its inverse, float32 may not hold the quotients


class VocabularyMask(DenoiserWrapper):
    """A denoiser whose logits ``[B, N, size]`` end where its tokenizer ends; ``banned_ids`` have no probability.

    A model may have more rows than its tokenizer has ids: the vocabulary of a size is fixed, a small corpus or
    ``--tokenizer bytes`` does not fill it, and before training the spare rows are as likely as any.
    """

    def __init__(self, denoiser: Denoiser, size: int, banned_ids: Sequence[int] = ()) -> None:
        super().__init__(denoiser)
        self.size = size
        self.banned_ids = list(banned_ids)

    def finish(self, logits: Tensor) -> Tensor:
        """Cut spare ids off and rule out banned ones."""
        logits = logits[..., : self.size]
        if self.banned_ids:
            banned = torch.tensor(self.banned_ids, device=logits.device)
            logits = logits.index_fill(-1, banned, -torch.inf)
        return logits


def warp_logits(logits: Tensor, temperature: float, top_p: float = 1.0) -> Tensor:
    """Logits at a temperature, cut to their nucleus.

    The nucleus (Holtzman et al. 2020, arXiv:1904.09751, eq. 3) is the smallest set of likeliest tokens whose
    probability, after the temperature, reaches ``top_p``.

    Args:
        logits: [..., V].
        temperature: Below 1 sharpens; 0 puts everything on the likeliest token.
        top_p: In (0, 1]; 1 keeps every token.

    Returns:
        [..., V], at least float32; NaN where the logits hold NaN or positive infinity.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)
        value = logits.gather(-1, best)
        return torch.full_like(logits, -torch.inf).scatter_(-1, best, value - value)  # 0, or NaN
    if not MIN_TEMPERATURE <= temperature <= 1 / MIN_TEMPERATURE:
        logits = (logits - logits.amax(dim=-1, keepdim=True)).double()
    if temperature != 1:
        logits = logits / temperature
    if top_p < 1:
        descending, order = torch.softmax(logits.double(), dim=-1).sort(dim=-1, descending=True)
        before = descending.cumsum(dim=-1) - descending
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(outside, -torch.inf)
    return logits
