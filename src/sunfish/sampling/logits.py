"""Which ids a denoiser may write: those that its tokenizer has, less some."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sunfish.config.sampling import SamplingSettings
from sunfish.types import Condition, Denoiser, Draft, Drafts, Past, Start, State


class Writable:
    """A denoiser whose logits ``[B, N, size]`` end where its tokenizer ends; ids in ``never`` have no probability.

    A model may have more rows than its tokenizer has ids: the vocabulary of a size is fixed, a small corpus or
    ``--tokenizer bytes`` does not fill it, and before training the spare rows are as likely as any.
    """

    def __init__(self, denoiser: Denoiser, size: int, never: Sequence[int] = ()) -> None:
        self.denoiser = denoiser
        self.size = size
        self.never = list(never)

    @property
    def table(self) -> Tensor:
        """The embeddings ``[V+1, E]`` of the denoiser, spare rows included."""
        return self.denoiser.table

    def __call__(
        self,
        x: State,
        t: Tensor,
        cond: Condition,
        past: Past | None = None,
        start: Start = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Logits ``[B, N, size]``."""
        return self._cut(self.denoiser(x, t, cond, past, start, block_length))

    def remember(
        self, ids: Tensor, cond: Condition, past: Past | None = None, start: Start | None = None
    ) -> tuple[Past, Tensor]:
        """The memory, and next-token logits ``[B, N, size]``."""
        past, logits = self.denoiser.remember(ids, cond, past, start)
        return past, self._cut(logits)

    def draft(self, x: State, t: Tensor, cond: Condition, past: Past | None, start: Start) -> Draft:
        """The draft, with logits ``[B, W - 1, size]``."""
        return self.denoiser.draft(x, t, cond, past, start).through(self._cut)

    def read_and_draft(
        self, ids: Tensor, cond: Condition, past: Past | None, start: Start, states: State, t: Tensor
    ) -> tuple[Past, Tensor, Drafts]:
        """The memory, next-token logits ``[B, N, size]``, and drafts alike."""
        past, logits, drafts = self.denoiser.read_and_draft(ids, cond, past, start, states, t)
        return past, self._cut(logits), None if drafts is None else lambda at: drafts(at).through(self._cut)

    def _cut(self, logits: Tensor) -> Tensor:
        logits = logits[..., : self.size]
        if self.never:
            never = torch.tensor(self.never, device=logits.device)
            logits = logits.index_fill(-1, never, -torch.inf)
        return logits


def sharpen(logits: Tensor, settings: SamplingSettings) -> Tensor:
    """Logits ``[..., V]`` at the settings' temperature (0: all mass on the likeliest token), cut to their nucleus.

    The nucleus (Holtzman et al. 2020, arXiv:1904.09751, eq. 3) is the smallest set of likeliest tokens whose
    probability, after the temperature, reaches ``top_p``.
    """
    if settings.temperature == 0:
        best = logits.argmax(dim=-1, keepdim=True)
        return torch.full_like(logits, -torch.inf).scatter_(-1, best, 0.0)
    if settings.temperature != 1:
        logits = logits / settings.temperature
    if settings.top_p < 1:
        ordered, order = torch.softmax(logits.double(), dim=-1).sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= settings.top_p)
        logits = logits.masked_fill(outside, -torch.inf)
    return logits
