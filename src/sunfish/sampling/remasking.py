"""The memory corrects the canvas: what it finds unlikely in a finished block is written anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.rng import Streams
from sunfish.sampling.unmasking import EXACT
from sunfish.types import Condition, Denoiser, Past, Process

UNLIKELY = 0.5  # of the favourite's probability


class Reader(NamedTuple):
    """The memory before a block."""

    denoiser: Denoiser
    cond: Condition
    past: Past | None
    last: (
        Tensor | None
    )  # [B, 1, V] what it expects at the block's first position; None at the start of a text

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each token of ``ids [B, n]``, and of the favourite in its place; 0 at the start mark."""
        logits = self.denoiser.remember(ids, self.cond, self.past)[1][:, :-1]
        if self.last is not None:
            logits = torch.cat([self.last, logits], dim=1)
        expected = torch.log_softmax(logits.double(), dim=-1)
        own = expected.gather(-1, ids[:, ids.shape[1] - logits.shape[1] :, None]).squeeze(-1)
        unread = expected.new_zeros(ids.shape[0], ids.shape[1] - logits.shape[1])
        return torch.cat([unread, own], dim=1), torch.cat([unread, expected.amax(dim=-1)], dim=1)


def revised(
    reader: Reader,
    process: Process,
    ids: Tensor,
    open_: Tensor,
    start: int,
    rounds: int,
    sharpened: Callable[[Tensor], Tensor],
    rng: Streams,
) -> Iterator[Tensor]:
    """A finished block ``ids [B, n]`` that begins at ``start``, after each round of revision.

    Open tokens (``open_ [B, n]``) that the memory gives less than ``UNLIKELY`` of its favourite's probability go back to
    noise and are drawn anew on the canvas, which sees the tokens on both sides. A row takes the new version where the
    memory finds the block as a whole likelier, so its likelihood never falls. This seeks quality; the texts do not
    have the model's distribution. Stops early where nothing is unlikely.
    """
    denoiser = reader.denoiser
    own, favourite = reader.read(ids)
    for _ in range(rounds):
        reopened = open_ & (own < favourite + math.log(UNLIKELY))
        if not bool(reopened.any()):
            return
        x = process.corrupt(ids, reopened.double(), denoiser.table, rng)
        logits = sharpened(denoiser(x, reopened.float(), reader.cond, reader.past, start))
        drawn = process.step(logits, x, 1.0, 0.0, denoiser.table, rng, EXACT)
        drawn = torch.where(reopened, process.decode(drawn, denoiser.table), ids)
        drawn_own, drawn_favourite = reader.read(drawn)
        better = drawn_own.sum(dim=1, keepdim=True) > own.sum(dim=1, keepdim=True)
        ids = torch.where(better, drawn, ids)
        own = torch.where(better, drawn_own, own)
        favourite = torch.where(better, drawn_favourite, favourite)
        yield ids
