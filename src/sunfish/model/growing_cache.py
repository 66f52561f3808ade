"""The growing cache: a KV cache with room after its text, so that a pass copies nothing of what is cached."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from sunfish.model.kv_cache import KVCache

ROOM_STEP = 64  # positions by which a room grows


class Room:
    """Memory for keys and values: the first ``filled`` positions hold text and never change again."""

    def __init__(self, data: Tensor, filled: int) -> None:
        """``data [L+1, 2, B, capacity, H, D/H]``: a position's heads lie side by side, as the copy head reads them."""
        self.data, self.filled = data, filled

    @classmethod
    def like(cls, keys_values: Tensor, length: int) -> Room:
        """An empty room for at least ``length`` positions of the shape of ``keys_values [L+1, 2, B, H, C, D/H]``."""
        layers, _, rows, heads, _, width = keys_values.shape
        capacity = -(-length // ROOM_STEP) * ROOM_STEP
        return cls(keys_values.new_empty(layers, 2, rows, capacity, heads, width), 0)

    @property
    def capacity(self) -> int:
        """Positions that there is memory for."""
        return self.data.shape[3]

    def heads_first(self, length: int) -> Tensor:
        """The first ``length`` positions as a cache has them, ``[L+1, 2, B, H, length, D/H]``; a view."""
        return self.data[:, :, :, :length].transpose(3, 4)

    @torch.inference_mode()
    def fill(self, keys_values: Tensor) -> None:
        """Write ``keys_values [L+1, 2, B, H, n, D/H]`` after what is there."""
        end = self.filled + keys_values.shape[4]
        self.heads_first(end)[..., self.filled :, :].copy_(keys_values)
        self.filled = end


class GrowingCache(KVCache):
    """A :class:`KVCache` whose positions are settled in a room, less those of the latest pass.

    It is a value like any other cache. What the latest pass appended is written into the room when the next pass begins,
    as far as it was accepted: then no cache can remember what was rejected. Where another cache has filled the room
    beyond this text, this one moves to a room of its own.
    """

    _room: Room | None
    _settled: int
    _latest: Tensor | None

    def __new__(cls, room: Room | None, settled: int, latest: Tensor | None = None) -> Self:
        """``settled`` positions of ``room``, then ``latest [L+1, 2, B, H, n, D/H]``."""
        empty: Any = None
        cache = super().__new__(cls, empty)
        cache._room, cache._settled, cache._latest = room, settled, latest
        return cache

    @classmethod
    def of(cls, cache: KVCache | None) -> GrowingCache | None:
        """The same cache with room to grow."""
        if cache is None or isinstance(cache, GrowingCache):
            return cache
        return cls(None, 0, cache.keys_values)

    @property
    def keys_values(self) -> Tensor:
        """``[L+1, 2, B, H, C, D/H]``, a view of the room."""
        return self.settle(0).heads_first(self.length)

    @property
    def length(self) -> int:
        """C: how many positions each row has."""
        return self._settled + (0 if self._latest is None else self._latest.shape[4])

    @property
    def num_rows(self) -> int:
        """B: how many texts, guidance branches counted."""
        return self._any_part().shape[2]

    def trim(self, length: int) -> GrowingCache:
        """The first ``length`` positions."""
        if self._latest is None or length <= self._settled:
            return GrowingCache(self._room, min(length, self._settled))
        return GrowingCache(self._room, self._settled, self._latest[..., : length - self._settled, :])

    def grown(self, latest: Tensor) -> GrowingCache:
        """These positions, then ``latest [L+1, 2, B, H, n, D/H]`` of a pass."""
        return GrowingCache(self.settle(0), self.length, latest)

    def settle(self, spare: int) -> Room:
        """The room, with all positions in it and memory for ``spare`` more, which a pass may use as it likes."""
        length, room = self.length, self._room
        blocked = (
            room is not None and room.filled != self._settled and (spare > 0 or self._latest is not None)
        )
        if room is None or blocked or room.capacity < length + spare:
            room = Room.like(self._any_part(), length + spare)
            if self._room is not None:
                room.fill(self._room.heads_first(self._settled))
        if self._latest is not None:
            room.fill(self._latest)
        self._room, self._settled, self._latest = room, length, None
        return room

    def _any_part(self) -> Tensor:
        if self._latest is not None:
            return self._latest
        assert self._room is not None
        return self._room.heads_first(self._settled)
