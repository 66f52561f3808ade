"""Drafts: what a canvas predicts for tokens that speculative decoding verifies, alone and given the tokens before."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.draft_head import DraftState


class Draft(NamedTuple):
    """What a canvas of W positions predicts for positions 1 to W - 1, which are the places 0 to W - 2 of the draft."""

    vocab_size: int  # V
    # From R to logits [R, W-1, V] of the first R rows, each place as if the others were unknown.
    marginal_logits: Callable[[int], Tensor]
    # From K and R to the K likeliest ids of each place, [R, W-1, K].
    likely_ids: Callable[[int, int], Tensor]
    # From candidates [B, W-1, K], or None for all ids, to what gives their logits [B, W-1, K] or [B, W-1, V] from the id
    # before each place, [B, W-1]. None: there is no draft head.
    conditional_logits: Callable[[Tensor | None], Callable[[Tensor], Tensor]] | None


# Of canvases after several tokens: from the index of one, [B], to its draft.
DraftAt = Callable[[Tensor], Draft]
# ``Transformer.draft_logits``, or a form of it.
DraftLogits = Callable[[DraftState, Tensor | None, Tensor | None], Tensor]


def likeliest_ids(marginal_logits: Callable[[int], Tensor]) -> Callable[[int, int], Tensor]:
    """:attr:`Draft.likely_ids` from :attr:`Draft.marginal_logits`."""
    return lambda count, rows: marginal_logits(rows).topk(count, dim=-1).indices


def make_draft(state: DraftState, logits: DraftLogits, embedding: Tensor) -> Draft:
    """The draft that begins with ``state``; ``embedding [V + 1, D]`` of all ids and the mask."""

    def marginal(rows: int) -> Tensor:
        return logits(state.first(rows), None, None)

    def conditional(candidates: Tensor | None) -> Callable[[Tensor], Tensor]:
        outputs = None if candidates is None else F.embedding(candidates, embedding)
        return lambda ids: logits(state, ids, outputs)

    given = None if state.projected is None else conditional
    return Draft(len(embedding) - 1, marginal, likeliest_ids(marginal), given)


def make_draft_at(
    canvases: Tensor, start: Callable[[Tensor], DraftState], logits: DraftLogits, embedding: Tensor
) -> DraftAt:
    """The drafts of ``canvases [B, N, W, D]``, hidden states after N tokens of each row.

    Args:
        canvases: As :meth:`sunfish.model.transformer.Transformer.causal_and_drafts_pass` returns them.
        start: :meth:`sunfish.model.transformer.Transformer.start_draft`, or a form of it.
        logits: As in :func:`make_draft`.
        embedding: Likewise.
    """
    rows = torch.arange(len(canvases), device=canvases.device)
    return lambda index: make_draft(start(canvases[rows, index]), logits, embedding)
