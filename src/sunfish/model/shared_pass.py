"""Shared passes: calls of a network for different texts, answered by one pass over the rows of all.

Matrices are multiplied once for all rows. Attention is computed call by call, since each text has a cache of its own
length; so a row is never padded to the cache of another one, and sees nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.model.growing_cache import GrowingCache
from sunfish.model.kv_cache import KVCache
from sunfish.model.layout import Layout
from sunfish.model.row_caches import RowCaches, TextRows, join_rows
from sunfish.model.transformer import Transformer
from sunfish.types import Condition, State

MAX_STACKS = 8  # joined conditions that are remembered


class Call(NamedTuple):
    """What a pass over B rows is asked for: text, a canvas, or both, as in :meth:`Transformer.forward`."""

    text: Tensor | None  # [B, n]
    canvas: State | None  # [B, M, ...]
    t: Tensor | None  # [B, M]
    condition: Condition
    cache: GrowingCache | None
    start: int | Tensor  # [B] where rows differ

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.condition.mask)

    @property
    def num_text(self) -> int:
        """n: positions of the text."""
        return 0 if self.text is None else self.text.shape[1]

    @property
    def num_canvas(self) -> int:
        """M: positions of canvases."""
        return 0 if self.t is None else self.t.shape[1]

    @property
    def num_positions(self) -> int:
        """n + M."""
        return self.num_text + self.num_canvas

    @property
    def extent(self) -> int:
        """Positions of the text that it reaches over; canvases after each token lie side by side."""
        return self.num_text + self.num_canvas // max(1, self.num_text)

    @property
    def kind(self) -> tuple[int, int]:
        """Calls of one kind can share a pass: text alone may be padded, but a canvas would see its padding."""
        return (self.num_text, self.num_canvas) if self.num_canvas else (-1, 0)


class Answers(NamedTuple):
    """What a shared pass says, and which rows of it belong to each call."""

    hidden: Tensor  # [R, n + M, D]
    places: list[slice]
    caches: list[GrowingCache]  # with the text appended; of a pass without text, nothing


class SharedPasses:
    """Runs shared passes over one network."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self._stacks: dict[tuple[int, ...], tuple[Sequence[Condition], Condition]] = {}

    def run(self, calls: Sequence[Call]) -> Answers:
        """Answer ``calls``, all of one kind, by one pass."""
        counts = [call.num_rows for call in calls]
        places = [slice(end - count, end) for end, count in zip(accumulate(counts), counts, strict=True)]
        condition = self._stacked([call.condition for call in calls])
        num_text, num_canvas = max(call.num_text for call in calls), calls[0].num_canvas
        width, device = num_text + num_canvas, condition.mask.device
        zeros = condition.keys.new_zeros(sum(counts), self.model.config.n_embd).split(counts)
        prompt = condition.mask.shape[1]
        parts = [
            TextRows(call.cache, call.start, call.num_positions, width, part, prompt)
            for call, part in zip(calls, zeros, strict=True)
        ]
        rows = RowCaches(parts, self.model.config.n_layer + 1)
        layout = _layout(num_text, num_canvas, device).at_starts(_starts(calls, device))
        text = [call.text for call in calls if call.text is not None]
        canvas = [call.canvas for call in calls if call.canvas is not None]
        t = [call.t for call in calls if call.t is not None]
        hidden, pairs = self.model(
            join_rows(text, num_text) if text else None,
            torch.cat(canvas) if canvas else None,
            torch.cat(t) if t else None,
            layout,
            condition,
            rows,
        )
        caches = []
        if num_text:
            latest = KVCache.from_pass(pairs, num_text).keys_values.split(counts, dim=2)
            caches = [_grown(call, part) for call, part in zip(calls, latest, strict=True)]
        return Answers(hidden, places, caches)

    def _stacked(self, conditions: Sequence[Condition]) -> Condition:
        """The rows of all ``conditions``; a text has the same one in all its passes, and so have its neighbors."""
        key = tuple(map(id, conditions))
        kept = self._stacks.pop(key, None) or (conditions, Condition.stack(conditions))
        self._stacks[key] = kept  # the latest is last; as long as one is kept, no other condition has its id
        while len(self._stacks) > MAX_STACKS:
            del self._stacks[next(iter(self._stacks))]
        return kept[1]


def _layout(num_text: int, num_canvas: int, device: torch.device) -> Layout:
    """The layout within the pass; what is cached is nobody's but the row's."""
    if not num_canvas:
        return Layout.causal(num_text, 0, 0, device)
    if not num_text:
        return Layout.canvas(num_canvas, 0, 0, device)
    return Layout.causal_and_drafts(num_text, num_canvas // num_text, 0, 0, device)


def _starts(calls: Sequence[Call], device: torch.device) -> Tensor:
    """Where each row begins, ``[R]``."""
    starts = (
        call.start.tolist() if isinstance(call.start, Tensor) else [call.start] * call.num_rows
        for call in calls
    )
    return torch.tensor([start for rows in starts for start in rows], device=device)


def _grown(call: Call, latest: Tensor) -> GrowingCache:
    latest = latest[..., : call.num_text, :]
    return GrowingCache(None, 0, latest) if call.cache is None else call.cache.grown(latest)
