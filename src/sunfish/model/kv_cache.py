"""The KV cache: keys and values of the text so far, of every block and of the copy head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sunfish.casts import cast_like

KeyValue = tuple[Tensor, Tensor]  # of one block, each [B, H, N, D/H]


class CachedRows(Protocol):
    """Cached keys and values of one block, where rows have caches of their own, or share a part of one."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of the queries ``[B, H, N, E]`` to the cache of their row and to M keys of the pass.

        ``mask [(B, 1,) N, M]`` says which of these are visible. Returns ``[B, N, H E]``.
        """
        ...


class TextCache(Protocol):
    """What a pass asks of the text before it."""

    def layers(self) -> Sequence[Tensor | CachedRows]:
        """What is cached of each block and, last, of the copy head; a tensor is ``[2, B, H, C, D/H]``."""
        ...

    def last_token(self, start: int | Tensor) -> Tensor:
        """The normalized embedding ``[B, D]`` of the token before ``start``, 0 where the text begins there."""
        ...


class KVCache(NamedTuple):
    """Keys and values of C text tokens for L blocks and the copy head, which comes last.

    The cache is a value: every method returns a new one. Rows may hold different numbers of valid tokens; each row
    then has its own ``start``, and the attention mask hides what lies after it.
    """

    keys_values: Tensor  # [L+1, 2, B, H, C, D/H]

    @classmethod
    def from_pass(cls, pairs: Sequence[KeyValue], length: int) -> KVCache:
        """The cache of the first ``length`` positions of a pass."""
        parts = [part for pair in pairs for part in pair]
        if length < parts[0].shape[2]:
            parts = [part[:, :, :length] for part in parts]
        return cls(torch.stack(parts).unflatten(0, (-1, 2)))

    @property
    def length(self) -> int:
        """C: how many positions each row has."""
        return self.keys_values.shape[4]

    @property
    def num_rows(self) -> int:
        """B: how many texts, guidance branches counted."""
        return self.keys_values.shape[2]

    def for_pass(self, start: int | Tensor) -> tuple[TextCache, int]:
        """The cache as a pass from ``start`` on queries it, and how many of its positions the pass's layout covers."""
        return self, self.length

    def layers(self) -> Sequence[Tensor]:
        """``[2, B, H, C, D/H]`` of each block and of the copy head."""
        return self.keys_values.unbind(0)

    def append(self, new: KVCache) -> KVCache:
        """These positions, then those of ``new``."""
        return KVCache(torch.cat([self.keys_values, cast_like(new.keys_values, self.keys_values)], dim=4))

    def trim(self, length: int) -> KVCache:
        """The first ``length`` positions."""
        return KVCache(self.keys_values[..., :length, :])

    def rows(self, count: int) -> KVCache:
        """The first ``count`` rows."""
        return KVCache(self.keys_values[:, :, :count])

    def select(self, texts: Tensor, branches: int) -> KVCache:
        """The rows of these ``texts [K]``, indexes of texts that have ``branches`` rows each, in every branch."""
        count = self.num_rows // branches
        rows = torch.cat([texts + branch * count for branch in range(branches)])
        return KVCache(self.keys_values[:, :, rows])

    def contiguous(self) -> KVCache:
        """The same cache without holes in memory, which compiled passes ask for."""
        return KVCache(self.keys_values.contiguous())

    def accept(self, lengths: Sequence[int], counts: Sequence[int], drafted: int) -> KVCache:
        """Keep what verification accepted, and close the gap that shorter rows leave.

        Args:
            lengths: Valid tokens of each text before the pass.
            counts: Tokens of each text to keep, of the ``drafted`` ones that the pass appended.
            drafted: Number of positions that the pass appended to every row.

        Returns:
            A cache as long as its longest row.
        """
        before = self.length - drafted
        totals = {length + count for length, count in zip(lengths, counts, strict=True)}
        longest = max(totals)
        if len(totals) == 1 and set(lengths) == {before}:
            return self.trim(longest)
        device = self.keys_values.device
        slots, starts = torch.arange(longest, device=device), torch.tensor(lengths, device=device)[:, None]
        source = torch.where(slots < starts, slots, before + slots - starts)
        source = source.clamp(max=self.length - 1).repeat(self.num_rows // len(counts), 1)
        shape = self.keys_values.shape
        index = source[:, None, :, None].expand(*shape[:4], -1, shape[5])
        return KVCache(self.keys_values.gather(4, index))

    def last_token(self, start: int | Tensor) -> Tensor:
        """The normalized embedding ``[B, D]`` of the token before ``start``, 0 where the text begins there.

        The copy head's values are the text's token embeddings, so the cache knows them.
        """
        tokens = self.keys_values[-1, 1]  # [B, H, C, D/H]
        if isinstance(start, int):
            return (
                tokens[:, :, start - 1].flatten(1) if start else torch.zeros_like(tokens[:, :, 0]).flatten(1)
            )
        rows = torch.arange(start.shape[0], device=start.device)
        last = tokens[rows, :, (start - 1).clamp(min=0)]
        return (last * (start > 0)[:, None, None]).flatten(1)
