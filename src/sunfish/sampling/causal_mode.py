"""Owns the causal mode of a guided network over several texts, and what its canvas says of the same places."""

from __future__ import annotations

import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.denoiser import DenoiserWrapper
from sunfish.model.kv_cache import KVCache
from sunfish.rng import RowGenerators, softmax
from sunfish.types import Condition, Process


class CausalMode:
    """The causal mode of a guided network over K rows: what tokens are drawn from, and how likely a given text is.

    What is drawn is guided. Evidence is the plain likelihood given the prompt: no guidance, temperature or nucleus.
    """

    def __init__(
        self, guided: DenoiserWrapper, process: Process, condition: Condition, config: GenerationConfig
    ) -> None:
        """``process``: that of the canvas. ``condition``: the prompt, one row."""
        self.guided, self.process, self.config = guided, process, config
        self.branches = guided.num_branches
        self.condition = guided.prepare(condition)
        # Whether evidence is: not where guidance leaves the prompt out, or is part of the network.
        self.is_given_prompt = _begins_with(self.condition, condition)
        self.device = condition.mask.device

    def prefill(self, ids: Tensor, cache: KVCache | None, start: Tensor) -> tuple[Tensor, Tensor, KVCache]:
        """Guided logits and plain ones ``[K, N, V]``, and the cache with ``ids [K, N]`` appended."""
        condition = self.condition.repeat(len(ids))
        many, starts = (torch.cat([part] * self.branches) for part in (ids, start))
        logits, cache = self.guided.denoiser.prefill(many, condition, cache, _same(starts, cache))
        return self.guided.finish(logits), logits[: len(ids)], cache

    def evidence(self, ids: Tensor, cache: KVCache | None, start: Tensor) -> Tensor:
        """log p ``[K, N - 1]`` of ``ids [K, N]`` but the first, each given all before it."""
        condition = self.condition.first(1).repeat(len(ids))
        cache = cache and cache.rows(len(ids))
        logits, _ = self.guided.denoiser.prefill(ids[:, :-1], condition, cache, _same(start, cache))
        return log_likelihoods(logits, ids[:, 1:])

    def canvas(self, ids: Tensor, noisy: Tensor, cache: KVCache | None, start: int) -> Tensor:
        """What the canvas says of each place of ``ids [K, N]`` of which it does not see those in ``noisy``, [K, N, V]."""
        t = noisy.to(torch.get_default_dtype())
        x = self.process.corrupt(ids, t, RowGenerators.for_rows(0, 0, 1))
        condition = self.condition.first(1).repeat(len(ids))
        cache = cache and cache.rows(1).select(torch.zeros(len(ids), dtype=torch.long, device=self.device), 1)
        return softmax(self.guided.denoiser.denoise(x, t, condition, cache, start))


def _begins_with(prepared: Condition, condition: Condition) -> bool:
    """Whether a network sees in the first row of ``prepared`` what it sees in ``condition``, which has one row."""
    first, width = prepared.first(1), condition.mask.shape[1]
    return (
        first.scale is None
        and torch.equal(first.mask[:, :width], condition.mask)
        and not bool(first.mask[:, width:].any())
        and torch.equal(first.keys[..., :width, :], condition.keys)
    )


def _same(start: Tensor, cache: KVCache | None) -> int | Tensor:
    """One number where all rows of ``start [K]`` begin after all of the cache: such a pass needs no mask for each."""
    length = 0 if cache is None else cache.length
    return length if bool((start == length).all()) else start


def log_likelihoods(logits: Tensor, ids: Tensor) -> Tensor:
    """log p ``[...]`` of ``ids [...]`` under ``logits [..., V]``, float64."""
    chosen = logits.gather(-1, ids[..., None]).squeeze(-1)
    return chosen.double() - logits.float().logsumexp(-1).double()
