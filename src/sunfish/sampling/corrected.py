"""Drafting and correcting: in each step the canvas drafts a whole block, and the causal mode corrects it.

Predictive sampling with forecasts (Wiggers and Hoogeboom 2020, arXiv:2002.09928, section 3): every position keeps one
random number, by which the canvas draws its forecast and the causal mode its own token. Where both agree up to a
position, it has the token that it would have if tokens were drawn one after the other. After as many steps as a block
has positions that is true of all of it; a canvas that forecasts well gets there in far fewer, and what is left over
when the steps run out reads nearly as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.denoiser import Denoiser
from sunfish.model.draft import Draft
from sunfish.model.kv_cache import KVCache
from sunfish.rng import RowGenerators, sample_categorical, softmax
from sunfish.sampling.block_diffusion import Snapshot
from sunfish.sampling.logits import warp
from sunfish.types import Condition, Process

# Times that a draft is given its own tokens; each makes one more of a run of masks know the one before it. A third
# changed no figure (docs/experiments/2026-11-corrected-canvas.md).
REFINEMENTS = 2


@torch.inference_mode()
def corrected_decoding(
    denoiser: Denoiser,
    process: Process,
    condition: Condition,
    prefix: Tensor,
    length: int,
    rng: RowGenerators,
    config: GenerationConfig,
    end: int | None = None,
) -> Iterator[Snapshot]:
    """Continue a prefix block by block; yield each draft, each correction, and each block as it is done.

    Args:
        denoiser: Drafts and corrects; guided or not.
        process: Its corruption, for the noise of the canvases.
        condition: The encoded prompts.
        prefix: [B, n] clean ids.
        length: How many positions a row has at the most.
        rng: One generator a row.
        config: Steps and length of a block, and how tokens are drawn.
        end: The id that ends a text; None: every row is written to ``length``.

    Yields:
        Snapshots, the blocks in order.
    """
    newest, begin = prefix[:, -1:], prefix.shape[1]
    cache = denoiser.prefill(prefix[:, :-1], condition)[1] if begin > 1 else None
    ended = torch.zeros(len(prefix), dtype=torch.bool, device=prefix.device)
    for start in range(begin, length, config.block_length or length):
        width = min(config.block_length or length, length - start)
        block = _Block(newest, width, rng.fork(start), config, ended, end)
        grown: KVCache | None = None
        for _ in range(config.num_steps):
            canvas, t = block.canvas(process)
            yield Snapshot(start, block.draft(denoiser.draft(canvas, t, condition, cache, start - 1)), False)
            given = block.given
            logits, grown = denoiser.prefill(given, condition, cache)
            block.correct(logits)
            if block.is_settled:
                break
            yield Snapshot(start, block.ids, False)
        yield Snapshot(start, block.ids, True)
        ended = block.ended
        if end is not None and bool(ended.all()):
            return
        if start + width < length:
            # What has been corrected since is not what the cache holds.
            known = torch.equal(block.given, given)
            cache = grown if known else denoiser.prefill(block.given, condition, cache)[1]
            newest = block.ids[:, -1:]


class _Block:
    """The ids ``[B, n]`` of a block, how many of each row are settled, and the random number of each position."""

    def __init__(
        self,
        newest: Tensor,
        width: int,
        rng: RowGenerators,
        config: GenerationConfig,
        ended: Tensor,
        end: int | None,
    ) -> None:
        """``newest [B, 1]``: the ids before the block; ``ended [B]``: rows whose text is over."""
        self.newest, self.rng, self.config, self.end, self.ended = newest, rng, config, end, ended
        self.uniform = rng.uniform(len(newest), width, device=newest.device)
        self.ids = newest.new_full((len(newest), width), 0 if end is None else end)
        self.place = torch.arange(width, device=newest.device)
        self.count = torch.where(ended, width, 0)

    @property
    def settled(self) -> Tensor:
        """``[B, n]`` bool: what no step changes any more."""
        return self.place < self.count[:, None]

    @property
    def is_settled(self) -> bool:
        """Whether all of it is."""
        return bool(self.settled.all())

    @property
    def given(self) -> Tensor:
        """``[B, n]`` what the causal mode reads to predict the block."""
        return torch.cat([self.newest, self.ids[:, :-1]], dim=1)

    def canvas(self, process: Process) -> tuple[Tensor, Tensor]:
        """The newest id and the block, noise where nothing is settled, and the times ``[B, 1 + n]``."""
        t = torch.cat([torch.zeros_like(self.newest, dtype=torch.float32), (~self.settled).float()], dim=1)
        return process.corrupt(torch.cat([self.newest, self.ids], dim=1), t, self.rng), t

    def draft(self, draft: Draft) -> Tensor:
        """Forecast what is not settled: each token drawn knowing the one before it, where there is a draft head."""
        self._draw(draft.marginal_logits(len(self.newest)))
        if draft.conditional_logits is not None:
            given = draft.conditional_logits(None)
            for _ in range(REFINEMENTS):
                self._draw(given(self.given))
        return self.ids

    def correct(self, logits: Tensor) -> None:
        """Draw from next-token ``logits [B, n, V]``; settle what agrees with the forecast, and the next one."""
        forecast = self.ids
        self._draw(logits)
        wrong = (self.ids != forecast).int()
        agreed = torch.where(wrong.any(dim=1), wrong.argmax(dim=1) + 1, wrong.shape[1])
        self.count = torch.maximum(self.count, agreed)
        if self.end is not None:
            over = self.settled & (self.ids == self.end)
            self.ids = torch.where(over.cumsum(dim=1) > 0, self.end, self.ids)
            ends = over.any(dim=1)
            self.ended = self.ended | ends
            self.count = torch.where(ends, wrong.shape[1], self.count)

    def _draw(self, logits: Tensor) -> None:
        drawn = sample_categorical(softmax(warp(logits, self.config)), self.uniform)
        self.ids = torch.where(self.settled, self.ids, drawn)
