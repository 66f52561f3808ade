"""Attention in a shared pass: the rows of each text attend to the cache of their text, and to nobody else's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.model.growing_cache import GrowingCache
from sunfish.model.layers import merge_heads


class RowCaches:
    """The caches of all rows of a pass: a :class:`sunfish.model.kv_cache.TextCache`."""

    def __init__(self, parts: Sequence[TextRows], num_layers: int) -> None:
        """Prepare.

        Args:
            parts: The rows of each text, in the order of the pass.
            num_layers: The blocks and the copy head.
        """
        self.parts, self.num_layers = parts, num_layers
        self.counts = [part.count for part in parts]
        self._biases: dict[int, tuple[Tensor, Sequence[Tensor]]] = {}

    def layers(self) -> list[RowLayer]:
        """One for each block, and one for the copy head."""
        return [RowLayer(self, number) for number in range(self.num_layers)]

    def last_token(self, start: int | Tensor) -> Tensor:
        """See :meth:`sunfish.model.kv_cache.TextCache.last_token`; each part knows its start."""
        return torch.cat([part.last_token() for part in self.parts])

    def biases(self, mask: Tensor | None, dtype: torch.dtype) -> Sequence[Tensor | None]:
        """What to add to the scores of the keys of the pass, for each part; None: nothing. Layers share a mask."""
        if mask is None:
            return [None] * len(self.parts)
        if id(mask) not in self._biases:
            bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
            shared = bias.ndim == 2  # all rows see the same
            self._biases[id(mask)] = mask, [bias] * len(self.parts) if shared else bias.split(self.counts)
        return self._biases[id(mask)][1]


class RowLayer(NamedTuple):
    """One layer of :class:`RowCaches`: a :class:`sunfish.model.kv_cache.CachedRows`."""

    rows: RowCaches
    number: int

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """See :meth:`sunfish.model.kv_cache.CachedRows.attend`."""
        rows = self.rows
        inputs = (part.split(rows.counts) for part in (query, key, value))
        parts = zip(rows.parts, *inputs, rows.biases(mask, query.dtype), strict=True)
        outputs = [part.attend(self.number, *tensors) for part, *tensors in parts]
        return join_rows(outputs, query.shape[2])


class Memory(NamedTuple):
    """Where the keys and values of one layer are, ``[B, H, C + M, E]``, and where those of the pass go."""

    keys: Tensor
    values: Tensor
    new_keys: Tensor  # [B, H, M, E]: the end of the same memory
    new_values: Tensor

    @staticmethod
    def of_layers(data: Tensor, cached: int) -> list[Memory]:
        """That of each layer of ``data [L, 2, B, H, C + M, E]``."""
        whole, new = (part.flatten(0, 1).unbind(0) for part in (data, data[..., cached:, :]))
        return [Memory(*layer) for layer in zip(whole[::2], whole[1::2], new[::2], new[1::2], strict=True)]

    def extended(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of the cache, then those of the pass."""
        self.new_keys.copy_(key)
        self.new_values.copy_(value)
        return self.keys, self.values


class TextRows:
    """The rows of one text during a pass."""

    def __init__(
        self,
        cache: GrowingCache | None,
        start: int | Tensor,
        length: int,
        width: int,
        zeros: Tensor,
        prompt: int,
    ) -> None:
        """Prepare.

        Args:
            cache: Of the text.
            start: Where the rows begin in it, ``[B]`` where they differ.
            length: Positions of the text in this pass.
            width: Positions of the pass; those after the text's are padding.
            zeros: [B, D] of the type of the network.
            prompt: Keys that the copy head has of the prompt.
        """
        self.cache = cache if cache is not None and cache.length else None
        self.start, self.padding, self.zeros, self.count = start, width - length, zeros, len(zeros)
        self.cached = 0 if self.cache is None else self.cache.length
        self.memory: list[Memory] = []
        if self.cache is not None:
            data = self.cache.settle(prompt + length).data
            blocks = data[:-1, :, :, : self.cached + length].transpose(3, 4)
            self.memory = Memory.of_layers(blocks, self.cached)
            heads_as_one = data[-1:, :, :, : self.cached + prompt + length].flatten(4)[:, :, :, None]
            self.memory += Memory.of_layers(heads_as_one, self.cached)
        self.later: Tensor | None = None  # bias [B, 1, 1, C] where some rows have fewer tokens than others
        if self.cached and isinstance(start, Tensor) and not bool((start == self.cached).all()):
            later = torch.arange(self.cached, device=start.device) >= start[:, None]
            self.later = zeros[:, :1].expand_as(later).masked_fill(later, -torch.inf)[:, None, None]
        self._biases: dict[int, Tensor | None] = {}

    def last_token(self) -> Tensor:
        """``[B, D]`` the token before the pass; 0 where there is none."""
        return self.zeros if self.cache is None else self.cache.last_token(self.start)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Attention to the cache and the pass: ``query [B, H, N, E]``, ``key [B, H, M, E]``, ``bias`` over M keys.

        The keys and values of the pass are written after those of the cache, so that both are one tensor and nothing of
        the cache is copied. Returns ``[B, N, H E]``, N less the padding.
        """
        if self.padding:
            query, key, value = (part[:, :, : -self.padding] for part in (query, key, value))
        if self.memory:
            bias = self._with_cache(bias, key.shape[2])
            key, value = self.memory[layer].extended(key, value)
        else:
            bias = self._trimmed(bias)
        return merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=bias))

    def _trimmed(self, bias: Tensor | None) -> Tensor | None:
        """The bias without padded queries and keys."""
        return bias[..., : -self.padding, : -self.padding] if self.padding and bias is not None else bias

    def _with_cache(self, bias: Tensor | None, num_keys: int) -> Tensor | None:
        """The bias over C cached keys and ``num_keys`` of the pass; the same in many layers."""
        if id(bias) not in self._biases:
            new = self._trimmed(bias)
            if self.later is not None:
                new = self.zeros[:1, :1].expand(1, num_keys) if new is None else new
                new = new.expand(self.count, 1, -1, -1)
                new = torch.cat([self.later.expand(-1, -1, new.shape[2], -1), new], dim=3)
            elif new is not None:
                new = F.pad(new, (self.cached, 0))
            self._biases[id(bias)] = new
        return self._biases[id(bias)]


def join_rows(parts: Sequence[Tensor], width: int) -> Tensor:
    """Rows ``[B, n, ...]`` of all parts, one after the other, padded with 0 to ``width`` positions."""
    if all(part.shape[1] == width for part in parts):
        return torch.cat(list(parts))
    joined = parts[0].new_zeros(sum(map(len, parts)), width, *parts[0].shape[2:])
    for rows, part in zip(joined.split(list(map(len, parts))), parts, strict=True):
        rows[:, : part.shape[1]] = part
    return joined
