"""Layouts: which positions a pass has, where they stand in the text, and who sees whom.

A pass has text positions first, which are causal, and canvas positions after them, which are bidirectional. Four
constructors make every pass there is:

- :meth:`Layout.causal`: text after the cache; predicts each next token and fills the cache.
- :meth:`Layout.canvas`: one canvas after the cache; denoising.
- :meth:`Layout.joint`: a whole text and canvases over all of it; training.
- :meth:`Layout.causal_and_drafts`: text after the cache, and a canvas after each of its tokens; speculative decoding.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask


class Segment(NamedTuple):
    """A stretch of queries and the stretches of keys that it may see; keys outside them are never computed."""

    queries: slice
    keys: tuple[slice, ...]
    mask: Tensor | None  # [(B, 1,) N, M] bool over those keys, True = visible; None: all are


Segments = tuple[Segment, ...]  # together they hold every query once, in order
# Visibility over C cached positions and N of the pass. Dense: bool, broadcasts to [B, H, N, C + N], True = visible, None:
# everything. Segments: for a CPU. BlockMask: for FlexAttention on a GPU, which skips empty tiles.
AttentionMask = Tensor | None | Segments | BlockMask


class Layout(NamedTuple):
    """The positions of one pass: ``num_causal`` of the text, then canvases of ``canvas_length`` positions each."""

    num_causal: int
    position: slice | Tensor  # place of each position in the text, [N], or [B, N] where rows differ
    mask: Tensor | Segments | None
    start: int | Tensor = 0  # where the pass begins in the text; [B] where rows differ
    cached: int = 0  # C: positions of the cache
    canvas_length: int = 0
    block_length: int = 0  # canvas positions denoised together; divides a canvas from its left end on
    # For each block, the token to its left: an index into [the token before the pass, the text of the pass].
    block_left: slice | Tensor = slice(0, 1)
    tiles: BlockMask | None = None  # the same as ``mask``, for FlexAttention

    @staticmethod
    def causal(length: int, start: int | Tensor, cached: int, device: torch.device) -> Layout:
        """``length`` text tokens from ``start`` on, each of which sees the cache before ``start`` and its past."""
        if not isinstance(start, Tensor):
            mask = causal_mask(length, cached, device)
            return Layout(length, slice(start, start + length), mask, start, cached)
        past = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        position = _positions(start, torch.arange(length, device=device))
        return Layout(length, position, with_cache(past, cached, start), start, cached)

    @staticmethod
    def canvas(length: int, start: int | Tensor, cached: int, device: torch.device) -> Layout:
        """One canvas of ``length`` positions from ``start`` on, which sees the cache before ``start`` and itself."""
        if not isinstance(start, Tensor):
            return Layout(0, slice(start, start + length), None, start, cached, length, length)
        position = _positions(start, torch.arange(length, device=device))
        everything = torch.ones(length, length, dtype=torch.bool, device=device)
        return Layout(0, position, with_cache(everything, cached, start), start, cached, length, length)

    @staticmethod
    @lru_cache(maxsize=256)
    def joint(length: int, canvases: int, block_length: int, device: torch.device, tiled: bool) -> Layout:
        """A text of ``length`` tokens, and ``canvases`` over all of it that do not see one another.

        A canvas position sees its block, and the text before the block, so that no block sees its own answer.
        ``tiled`` adds the mask of FlexAttention.
        """
        place = torch.arange(length, device=device)
        block_left: slice | Tensor = slice(0, length, block_length)
        if canvases > 1:
            block_left = torch.arange(0, length, block_length, device=device).repeat(canvases)
        return Layout(
            num_causal=length,
            position=place.repeat(1 + canvases),
            mask=joint_segments(length, canvases, block_length, device),
            canvas_length=length,
            block_length=block_length,
            block_left=block_left,
            tiles=joint_tiles(length, canvases, block_length, device) if tiled else None,
        )

    @staticmethod
    def causal_and_drafts(
        length: int, width: int, start: int | Tensor, cached: int, device: torch.device
    ) -> Layout:
        """``length`` text tokens from ``start`` on, and after each of them a canvas of ``width`` positions.

        Canvas i sees what token i sees, that token, and itself.
        """
        token = torch.arange(length, device=device)
        canvas = torch.arange(length * width, device=device)
        offset = torch.cat([token, canvas // width + canvas % width + 1])
        last_visible = torch.cat([token, canvas // width])
        member = torch.cat([-1 - token, canvas // width])  # tokens of the text belong to no canvas
        visible = F.pad(last_visible[:, None] >= token, (0, length * width)) | (member[:, None] == member)
        return Layout(
            num_causal=length,
            position=_positions(start, offset),
            mask=with_cache(visible, cached, start),
            start=start,
            cached=cached,
            canvas_length=width,
            block_length=width,
            block_left=slice(1, None),
        )

    def at_starts(self, start: Tensor) -> Layout:
        """The layout of a pass at position 0, for rows that begin at ``start [B]`` each."""
        offset = self.position
        if isinstance(offset, slice):
            offset = torch.arange(offset.stop, device=start.device)
        return self._replace(position=_positions(start, offset), start=start)

    def without_self(self, noise: Tensor) -> Layout:
        """The layout in which no position of ``noise [B, N]`` (bool) sees itself.

        For processes whose noise does not show: see :class:`sunfish.model.transformer.Transformer`.
        """
        if isinstance(self.mask, tuple):
            text, *canvases = self.mask
            return self._replace(
                mask=(text, *(_hide_self(segment, noise) for segment in canvases)), tiles=None
            )
        return self._replace(mask=hide_self(self.mask, noise, self.cached))

    def to_blocks(self, canvas: Tensor) -> Tensor:
        """Canvas positions ``[B, M, D]`` as blocks ``[B, K, block_length, D]``; the last block is padded with 0."""
        padding = -self.canvas_length % self.block_length
        if padding:
            canvas = F.pad(canvas.unflatten(1, (-1, self.canvas_length)), (0, 0, 0, padding)).flatten(1, 2)
        blocks: Tensor = canvas.unflatten(1, (-1, self.block_length))
        return blocks

    def from_blocks(self, blocks: Tensor) -> Tensor:
        """The inverse of :meth:`to_blocks`."""
        canvas = blocks.flatten(1, 2)
        padding = -self.canvas_length % self.block_length
        if padding:
            padded = canvas.unflatten(1, (-1, self.canvas_length + padding))
            canvas = padded[:, :, : self.canvas_length].flatten(1, 2)
        return canvas


def _positions(start: int | Tensor, offset: Tensor) -> Tensor:
    return offset + (start[:, None] if isinstance(start, Tensor) else start)


def causal_mask(length: int, cached: int, device: torch.device) -> Tensor | None:
    """``[N, C + N]`` bool: the cache, a position itself, and what is before it; None where that is everything."""
    if length == 1:
        return None
    return torch.ones(length, cached + length, dtype=torch.bool, device=device).tril(cached)


def with_cache(visible: Tensor, cached: int, start: int | Tensor) -> Tensor:
    """``[(B, 1,) N, C + N]``: ``visible [N, N]`` within the pass, and of C cached tokens those before ``start``."""
    if not isinstance(start, Tensor):
        return F.pad(visible, (cached, 0), value=True)
    earlier = torch.arange(cached, device=start.device) < start[:, None]
    rows, length = start.shape[0], visible.shape[0]  # len would be a constant of an exported graph
    parts = [earlier[:, None, None].expand(rows, 1, length, -1), visible.expand(rows, 1, -1, -1)]
    return torch.cat(parts, dim=3)


def hide_self(mask: Tensor | None, noise: Tensor, cached: int) -> Tensor:
    """``mask`` less each position of ``noise [B, N]`` (bool) for itself: ``[B, 1, N, C + N]``."""
    diagonal = F.pad(torch.eye(noise.shape[1], dtype=torch.bool, device=noise.device), (cached, 0))
    visible = ~(diagonal & noise[:, :, None])[:, None]
    return visible if mask is None else visible & mask


def _hide_self(segment: Segment, noise: Tensor) -> Segment:
    queries = segment.queries.stop - segment.queries.start
    before = segment.keys[0].stop - segment.keys[0].start - queries  # keys to the left of the canvas itself
    return segment._replace(mask=hide_self(segment.mask, noise[:, segment.queries], before))


def block_mask(length: int, block_length: int, device: torch.device) -> Tensor:
    """``[N, N + N]`` bool: a canvas position sees the text before its block, and its block."""
    block = torch.arange(length, device=device) // block_length
    earlier = torch.arange(length, device=device) < (block * block_length)[:, None]
    return torch.cat([earlier, block[:, None] == block], dim=1)


def joint_segments(length: int, canvases: int, block_length: int, device: torch.device) -> Segments:
    """The segments of :meth:`Layout.joint`: the text, then each canvas."""
    text = slice(0, length)
    segments = [Segment(text, (text,), causal_mask(length, 0, device))]
    whole = block_length >= length  # such a canvas sees nothing of the text
    mask = None if whole else block_mask(length, block_length, device)
    for first in range(length, (1 + canvases) * length, length):
        canvas = slice(first, first + length)
        segments.append(Segment(canvas, (canvas,) if whole else merge_slices(text, canvas), mask))
    return tuple(segments)


def joint_tiles(length: int, canvases: int, block_length: int, device: torch.device) -> BlockMask:
    """The mask of :meth:`Layout.joint` for FlexAttention (Dong et al. 2024, arXiv:2412.05496)."""
    place = torch.arange(length, device=device)
    block = place // block_length
    visible_text = torch.cat([place + 1, (block * block_length).repeat(canvases)])  # tokens each one sees
    canvas = torch.arange(canvases, device=device)[:, None]
    group = torch.cat([-1 - place, (canvas * length + block).flatten()])  # who sees one another

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key < visible_text[query]) | (group[query] == group[key])

    size = len(group)
    return create_block_mask(visible, None, None, size, size, device=str(device))


def merge_slices(*slices: slice) -> tuple[slice, ...]:
    """The same stretches; those that touch become one."""
    merged: list[slice] = []
    for part in slices:
        if merged and merged[-1].stop == part.start:
            merged[-1] = slice(merged[-1].start, part.stop)
        else:
            merged.append(part)
    return tuple(merged)


def prepend_keys(mask: Tensor | Segments | None, prompt: Tensor, text: Tensor) -> AttentionMask:
    """The mask with prompt keys before all others, for the copy head.

    Args:
        mask: That of the layout, over M keys.
        prompt: [B, 1, 1, P] bool, which prompt keys are visible; to every position.
        text: [B, M] bool, which of the other keys hold a token that can be copied.

    Returns:
        A mask of the same kind over P + M keys.
    """
    if mask is None:
        return torch.cat([prompt, text[:, None, None, :]], dim=3)
    if isinstance(mask, Tensor):
        visible = text[:, None, None, :] & mask
        return torch.cat([prompt.expand(text.shape[0], 1, visible.shape[2], -1), visible], dim=3)
    width = prompt.shape[3]
    segments = []
    for queries, keys, within in mask:
        visible = torch.cat([text[..., part] for part in keys], dim=-1)[:, None, None, :]
        visible = visible if within is None else visible & within
        shifted = (slice(part.start + width, part.stop + width) for part in keys)
        full = torch.cat([prompt.expand(-1, -1, visible.shape[2], -1), visible], dim=3)
        segments.append(Segment(queries, merge_slices(slice(0, width), *shifted), full))
    return tuple(segments)
