"""The shared-prefix cache: a KV cache of texts that begin alike, which keeps what they share only once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from sunfish.casts import at_least_float32, cast_like
from sunfish.model.kv_cache import KVCache
from sunfish.model.layers import merge_heads


class SharedPrefixCache(KVCache):
    """A :class:`KVCache` of K continuations of one text, whose first T positions all of them share.

    A guided network has a row of the prefix for each branch, and K continuations of each, one branch after the other.
    It is a value like any other cache, and longer than the prefix or as long. A pass reads the prefix once for all rows
    (Juravsky et al. 2024, arXiv:2402.05099, section 3.2), and copies nothing of it.
    """

    _prefix: Prefix
    _suffixes: KVCache

    def __new__(cls, prefix: Prefix, suffixes: KVCache) -> Self:
        """``suffixes``: of the K continuations of each row of ``prefix``, from position T on."""
        empty: Any = None
        cache = super().__new__(cls, empty)
        cache._prefix, cache._suffixes = prefix, suffixes
        return cache

    @classmethod
    def of(cls, cache: KVCache) -> SharedPrefixCache:
        """All of ``cache``, one text in every branch, is the prefix of what follows."""
        return cls(Prefix.of(cache), KVCache(cache.keys_values[..., :0, :]))

    @property
    def keys_values(self) -> Tensor:
        """``[L+1, 2, B, H, C, D/H]``, a copy."""
        prefix = self._prefix.cache.keys_values.repeat_interleave(self._num_texts, dim=2)
        return torch.cat([prefix, self._suffixes.keys_values], dim=4)

    @property
    def length(self) -> int:
        """C: how many positions each row has."""
        return self._prefix.length + self._suffixes.length

    @property
    def num_rows(self) -> int:
        """B: how many texts, guidance branches counted."""
        return self._suffixes.num_rows

    def append(self, new: KVCache) -> SharedPrefixCache:
        """These positions, then those of ``new``."""
        return SharedPrefixCache(self._prefix, self._suffixes.append(new))

    def trim(self, length: int) -> SharedPrefixCache:
        """The first ``length`` positions, at least those of the prefix."""
        assert length >= self._prefix.length
        return SharedPrefixCache(self._prefix, self._suffixes.trim(length - self._prefix.length))

    def rows(self, count: int) -> SharedPrefixCache:
        """The first ``count`` rows: some of one branch, or all of some."""
        branches = -(-count // self._num_texts)
        assert branches == 1 or count == branches * self._num_texts
        return SharedPrefixCache(self._prefix.rows(branches), self._suffixes.rows(count))

    def select(self, texts: Tensor, branches: int) -> SharedPrefixCache:
        """The rows of these ``texts [K]`` in every branch."""
        return SharedPrefixCache(self._prefix, self._suffixes.select(texts, branches))

    def accept(self, lengths: Sequence[int], counts: Sequence[int], drafted: int) -> SharedPrefixCache:
        """See :meth:`KVCache.accept`; ``lengths`` are those of whole texts."""
        lengths = [length - self._prefix.length for length in lengths]
        return SharedPrefixCache(self._prefix, self._suffixes.accept(lengths, counts, drafted))

    def last_token(self, start: int | Tensor) -> Tensor:
        """The normalized embedding ``[B, D]`` of the token before ``start``, which must not lie within the prefix."""
        of_prefix = self._prefix.cache.last_token(self._prefix.length)
        of_prefix = of_prefix.repeat_interleave(self._num_texts, dim=0)
        if not self._suffixes.length:
            return of_prefix
        within = start - self._prefix.length
        of_suffix = self._suffixes.last_token(within)
        if isinstance(within, int):
            return of_suffix if within else of_prefix
        return torch.where((within > 0)[:, None], of_suffix, of_prefix)

    def for_pass(self, start: int | Tensor) -> tuple[SharedPrefixRows, int]:
        """See :meth:`KVCache.for_pass`."""
        return SharedPrefixRows(self, start), 0

    @property
    def _num_texts(self) -> int:
        """K."""
        return self._suffixes.num_rows // self._prefix.cache.num_rows


class Prefix(NamedTuple):
    """What texts share: the cache of one text in each branch."""

    cache: KVCache
    pairs: Sequence[tuple[Tensor, Tensor]]  # of each layer: keys [b, H, E, T], values [b, H, T, E]

    @classmethod
    def of(cls, cache: KVCache) -> Prefix:
        """Prepare ``cache`` for attention."""
        return cls(
            cache, [(at_least_float32(keys).mT.contiguous(), values) for keys, values in _layers(cache)]
        )

    @property
    def length(self) -> int:
        """T."""
        return self.cache.length

    def rows(self, count: int) -> Prefix:
        """The first ``count`` branches."""
        if count == self.cache.num_rows:
            return self
        return Prefix(self.cache.rows(count), [(keys[:count], values[:count]) for keys, values in self.pairs])


class SharedPrefixRows:
    """A shared-prefix cache during a pass: a :class:`sunfish.model.kv_cache.TextCache`."""

    def __init__(self, cache: SharedPrefixCache, start: int | Tensor) -> None:
        """``start``: where the pass begins in the text, ``[B]`` where rows differ."""
        self.cache = cache
        self.hidden: Tensor | None = None  # [B, 1, 1, S] bool, positions that their row does not have
        if isinstance(start, Tensor):
            place = torch.arange(cache._prefix.length, cache.length, device=start.device)
            self.hidden = (place >= start[:, None])[:, None, None]

    def layers(self) -> list[SharedPrefixLayer]:
        """One for each block and, last, one for the copy head."""
        pairs = zip(self.cache._prefix.pairs, _layers(self.cache._suffixes), strict=True)
        return [SharedPrefixLayer(prefix, suffix, self.hidden) for prefix, suffix in pairs]

    def last_token(self, start: int | Tensor) -> Tensor:
        """See :meth:`SharedPrefixCache.last_token`."""
        return self.cache.last_token(start)


class SharedPrefixLayer(NamedTuple):
    """One layer of :class:`SharedPrefixRows`: a :class:`sunfish.model.kv_cache.CachedRows`."""

    prefix: tuple[Tensor, Tensor]  # keys [b, H, E, T] and values [b, H, T, E]
    suffix: Tensor  # [2, B, H, S, E]
    hidden: Tensor | None  # [B, 1, 1, S]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """See :meth:`sunfish.model.kv_cache.CachedRows.attend`.

        All rows of a branch are so many more queries to its prefix. One softmax spans what they find there, and what
        each finds in its own suffix and in the pass.
        """
        prefix_keys, prefix_values = self.prefix
        branches, length = len(prefix_keys), query.shape[2]
        key, value = (
            torch.cat([cast_like(suffix, new), new], dim=2)
            for suffix, new in zip(self.suffix, (key, value), strict=True)
        )
        query = at_least_float32(query) / math.sqrt(query.shape[3])
        in_prefix = _unfold(_fold(query, branches) @ prefix_keys, length)
        in_rest = query @ at_least_float32(key).mT
        if self.hidden is not None:
            in_rest[..., : self.hidden.shape[3]].masked_fill_(self.hidden, -torch.inf)
        if mask is not None:
            in_rest[..., self.suffix.shape[3] :].masked_fill_(~mask, -torch.inf)
        share = cast_like(torch.cat([in_prefix, in_rest], dim=3).softmax(dim=3), value)
        of_prefix, of_rest = share.split([in_prefix.shape[3], in_rest.shape[3]], dim=3)
        found = _unfold(_fold(of_prefix, branches) @ cast_like(prefix_values, value), length)
        return merge_heads(found + of_rest @ value)


def _layers(cache: KVCache) -> list[Tensor]:
    """``[2, B, H, C, E]`` of each block, and of the copy head, whose attention has one head, ``[2, B, 1, C, D]``."""
    *blocks, copy_head = cache.layers()
    return [*blocks, merge_heads(copy_head).unsqueeze(2)]


def _fold(x: Tensor, branches: int) -> Tensor:
    """``[b K, H, N, E]`` as ``[b, H, K N, E]``: the rows of a branch one after the other."""
    by_branch: Tensor = x.unflatten(0, (branches, -1))
    return by_branch.transpose(1, 2).flatten(2, 3)


def _unfold(x: Tensor, length: int) -> Tensor:
    """The inverse of :func:`_fold`, for rows of ``length`` N."""
    by_row: Tensor = x.unflatten(2, (-1, length))
    return by_row.transpose(1, 2).flatten(0, 1)
