"""Owns the three computations that an export consists of, as modules that an exporter can follow.

``encode`` runs once for each text. ``draft`` and ``verify`` are the two passes of a round of speculative decoding;
``verify`` alone, over one id at a time, is the autoregressive mode. Guidance is inside: rows of the batch are its
branches, the prompt first and what it is compared with last. With one row there is nothing to compare, and the scale has
no effect.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sunfish.model.draft import likely_ids
from sunfish.model.kv_cache import KVCache
from sunfish.model.transformer import Transformer
from sunfish.sampling.guidance import LOWEST
from sunfish.sampling.speculative import MAX_ITERATIONS, num_candidates
from sunfish.types import Condition

TINY = 1e-30  # stands for a temperature of 0 where a graph divides by it
NO_PROMPT = torch.zeros(1, 1, dtype=torch.long)


class Graph(nn.Module):
    """A module, the names of its inputs, and its outputs with the dimensions that differ from pass to pass."""

    inputs: ClassVar[tuple[str, ...]]
    dynamic_outputs: ClassVar[dict[str, tuple[int, ...]]]


class EncodeGraph(Graph):
    """The prompt encoder."""

    inputs = ("prompts", "visible")
    dynamic_outputs: ClassVar = {"keys": (1, 3), "values": (1, 3), "mask": (0, 1)}

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        # A model without prompts has one condition, and looks at its input only to refuse it.
        without = None if model.config.prompt_length else model.encode(NO_PROMPT, NO_PROMPT.bool())
        self.without = without and tuple(part for part in without if part is not None)

    def forward(self, prompts: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode.

        Args:
            prompts: [B, P] ids.
            visible: [B, P] bool, False where a row has no token.

        Returns:
            Keys and values [L+1, B, H, 1+P, D/H], and their mask [B, 1+P].
        """
        if self.without is None:
            condition = self.model.encode(prompts, visible)
            return condition.keys, condition.values, condition.mask
        keys, values, mask = self.without
        rows = prompts.shape[0]
        shape = (-1, rows, -1, -1, -1)
        # The mask is True; with what is visible, the graph has the inputs of every other one.
        return keys.expand(shape).clone(), values.expand(shape).clone(), mask | visible[:, :1]


class _Pass(Graph):
    """What the two passes share: the cache that they see, and guidance."""

    def __init__(self, model: Transformer, size: int) -> None:
        """``size``: ids of the tokenizer; the network may have spare ones."""
        super().__init__()
        self.model = model
        self.size = size

    def visible_cache(self, cache: Tensor, kept: Tensor) -> tuple[KVCache, Tensor]:
        """The positions ``kept [S]`` of ``cache [L+1, 2, B, H, C, D/H]``, and where the pass begins, ``[B]``.

        One more slot, which no position sees, lets a graph of fixed operations read "the token before" of an empty cache.
        """
        chosen = F.pad(cache.index_select(4, kept), (0, 0, 0, 1))
        start = kept.new_full((cache.shape[2],), kept.shape[0])
        return KVCache(chosen), start

    def guided(self, logits: Tensor, scale: Tensor, plausibility: Tensor) -> Tensor:
        """Log-probabilities ``[1, N, size]`` of the branches' ``logits [B, N, V]``.

        :func:`sunfish.sampling.guidance.classifier_free_guidance` with tensors in place of numbers, so that one graph
        serves every scale.
        """
        logits = logits[..., : self.size]
        conditional, unconditional = logits[:1], logits[-1:].clamp(min=LOWEST)
        floor = conditional.amax(dim=-1, keepdim=True) + (plausibility * (scale > 1)).log()
        guided = unconditional + scale * (conditional - unconditional)
        return torch.log_softmax(torch.where(conditional < floor, -torch.inf, guided), dim=-1)


class VerifyGraph(_Pass):
    """The causal pass: next-token log-probabilities, and the grown cache."""

    inputs = ("ids", "cache", "kept", "keys", "values", "mask", "scale", "plausibility")
    dynamic_outputs: ClassVar = {"logits": (0,), "grown": (2, 4)}

    def forward(
        self,
        ids: Tensor,
        cache: Tensor,
        kept: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor,
        scale: Tensor,
        plausibility: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One pass over ``ids [N]`` after the cache.

        Args:
            ids: [N] clean ids.
            cache: [L+1, 2, B, H, C, D/H] keys and values of the text so far, and maybe of a rejected draft after it.
            kept: [S] the numbers 0 to S - 1: how many positions of the cache are the text.
            keys: [L+1, B, H, 1+P, D/H] of ``encode``.
            values: Likewise.
            mask: [B, 1+P], likewise.
            scale: [] the guidance scale.
            plausibility: [] see :func:`sunfish.sampling.guidance.classifier_free_guidance`.

        Returns:
            Log-probabilities [N, size], and a cache [L+1, 2, B, H, S + N, D/H].
        """
        visible, start = self.visible_cache(cache, kept)
        rows = ids.expand(cache.shape[2], -1)
        hidden, grown = self.model.causal_pass(rows, Condition(keys, values, mask), visible, start)
        logits = self.guided(self.model.head(hidden), scale, plausibility)
        text, new = visible.keys_values[..., :-1, :], grown.keys_values[..., visible.length :, :]
        return logits[0], torch.cat([text, new], dim=4)


class DraftGraph(_Pass):
    """The canvas pass over masks after the newest token, and the draft that :func:`sample_draft` draws from it.

    It is drawn :data:`MAX_ITERATIONS` times, even once no token changes; without a draft head, where none can, once.
    """

    inputs = (
        *("canvas", "cache", "kept", "keys", "values", "mask", "scale", "plausibility"),
        *("noise", "temperature", "top_p"),
    )
    dynamic_outputs: ClassVar = {"drafted": (0,), "logits": (0,)}

    def forward(
        self,
        canvas: Tensor,
        cache: Tensor,
        kept: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor,
        scale: Tensor,
        plausibility: Tensor,
        noise: Tensor,
        temperature: Tensor,
        top_p: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Draft; what is not said here is as in ``verify``.

        Args:
            canvas: [W] the newest id, then masks.
            noise: [W - 1, K] Gumbel noise.
            temperature: [] of the draws.
            top_p: [] the nucleus of the draws.

        Returns:
            Ids [W - 1], and logits [W - 1, size] of what they were drawn from, before temperature and nucleus; minus
            infinity for ids that are no candidates.
        """
        visible, start = self.visible_cache(cache, kept)
        rows = canvas.expand(cache.shape[2], -1)
        t = torch.zeros_like(rows, dtype=keys.dtype)  # a mask shows that it is one
        hidden = self.model.canvas_pass(rows, t, Condition(keys, values, mask), visible, start)
        state = self.model.start_draft(hidden)
        marginal = self.model.draft_logits(state, None)[..., : self.size]
        candidates, ids = likely_ids(marginal[:1], num_candidates(self.size))
        at_places = candidates[:, None].expand(-1, ids.shape[1], -1)
        outputs = F.embedding(candidates.expand(cache.shape[2], -1), self.model.token_embedding)
        branches, with_head = marginal[..., candidates[0]], state.projected is not None
        for _ in range(MAX_ITERATIONS if with_head else 1):
            if with_head:
                previous = torch.cat([canvas[None, :1], ids[:, :-1]], dim=1).expand(cache.shape[2], -1)
                branches = self.model.draft_logits(state, previous, outputs)
            logits = self.guided(branches, scale, plausibility)
            ids = candidates.gather(1, noisy(logits, noise, temperature, top_p).argmax(dim=-1))
        whole = torch.full_like(marginal[:1], -torch.inf).scatter(2, at_places, logits)
        return ids[0], whole[0]


def noisy(logits: Tensor, noise: Tensor, temperature: Tensor, top_p: Tensor) -> Tensor:
    """Numbers ``[..., K]`` whose largest one is the draw: ``logits`` warped, plus Gumbel noise.

    They are warped as by :func:`sunfish.sampling.logits.warp_logits`, with tensors in place of numbers.
    """
    sharpened = (logits - logits.amax(dim=-1, keepdim=True)) / temperature.clamp(min=TINY)
    descending, order = torch.softmax(sharpened, dim=-1).sort(dim=-1, descending=True)
    outside = (descending.cumsum(dim=-1) - descending >= top_p) & (top_p < 1)
    outside = torch.zeros_like(outside).scatter(-1, order, outside)
    return torch.where(outside, -torch.inf, sharpened + torch.where(temperature > 0, noise, 0.0))
