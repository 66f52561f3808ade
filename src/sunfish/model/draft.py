"""Drafts: what a canvas predicts for tokens that speculative decoding verifies, alone and given the tokens before."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.draft_head import DraftState


class LikelyIds(NamedTuple):
    """Which ids a draft is likely to have."""

    anywhere: Tensor  # [R, K] the likeliest of any place, in the order of their numbers
    at_places: Tensor  # [R, W-1] the likeliest of each place


class Draft(NamedTuple):
    """What a canvas of W positions predicts for positions 1 to W - 1, which are the places 0 to W - 2 of the draft."""

    vocab_size: int  # V
    # From R to logits [R, W-1, V] of the first R rows, each place as if the others were unknown.
    marginal_logits: Callable[[int], Tensor]
    # From K and R to the K ids of the first R rows that are likeliest anywhere.
    likely_ids: Callable[[int, int], LikelyIds]
    # From candidates [B, K], or None for all ids, to what gives their logits [B, W-1, K] or [B, W-1, V] from the id
    # before each place, [B, W-1]. None: there is no draft head.
    conditional_logits: Callable[[Tensor | None], Callable[[Tensor], Tensor]] | None


# Of canvases after several tokens: from the index of one, [B], to its draft.
DraftAt = Callable[[Tensor], Draft]
# ``Transformer.draft_logits``, or a form of it.
DraftLogits = Callable[[DraftState, Tensor | None, Tensor | None], Tensor]


def likely_ids(marginal_logits: Tensor, count: int) -> LikelyIds:
    """The likeliest ids of a draft by its ``marginal_logits [R, W-1, V]``, ``count`` of them of any place.

    An id is as likely as at the place where it is likeliest: so places that are sure of their token leave the room to
    those that are not. Which of two sure ones is likelier is a matter of rounding, so noise must not go by that order.
    """
    shares = marginal_logits.log_softmax(dim=-1).amax(dim=1)
    anywhere = shares.topk(count, dim=-1).indices.sort(dim=-1).values
    return LikelyIds(anywhere, marginal_logits.argmax(dim=-1))


def likely_ids_of(marginal_logits: Callable[[int], Tensor]) -> Callable[[int, int], LikelyIds]:
    """:attr:`Draft.likely_ids` from :attr:`Draft.marginal_logits`."""
    return lambda count, rows: likely_ids(marginal_logits(rows), count)


def make_draft(state: DraftState, logits: DraftLogits, embedding: Tensor) -> Draft:
    """The draft that begins with ``state``; ``embedding [V + 1, D]`` of all ids and the mask."""

    def marginal(rows: int) -> Tensor:
        return logits(state.first(rows), None, None)

    def conditional(candidates: Tensor | None) -> Callable[[Tensor], Tensor]:
        outputs = None if candidates is None else F.embedding(candidates, embedding)
        return lambda ids: logits(state, ids, outputs)

    given = None if state.projected is None else conditional
    return Draft(len(embedding) - 1, marginal, likely_ids_of(marginal), given)


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
