"""Who may see whom: masks ``[..., N, M + N]`` over M remembered positions and N of the pass, True = visible."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from sunfish.types import Start

# One mask for a pass (None: everything is visible), or two: that of the text that is read, and that of each canvas
# beside it; or the same in tiles.
Visible = Tensor | None | tuple[Tensor, Tensor | None] | BlockMask


def causal_mask(length: int, remembered: int, device: torch.device) -> Tensor | None:
    """``[N, M + N]`` bool: a reading position sees what is remembered and itself and what is before it."""
    if length == 1:
        return None
    everything = torch.ones(length, remembered + length, dtype=torch.bool, device=device)
    return everything.tril(remembered)


def canvas_mask(
    length: int, remembered: int, start: int, block_length: int, device: torch.device
) -> Tensor | None:
    """What a canvas position may see, ``[N, M + N]`` bool; None where it sees everything.

    The canvas begins at position ``start`` and falls into blocks. A position sees its whole block, and the
    remembered tokens that lie before the block, so that no block can see its own clean answer.
    """
    if block_length == 0 or block_length >= length:
        if remembered <= start:
            return None
        block_length = length
    offset = torch.arange(length, device=device)
    block = offset // block_length
    earlier = torch.arange(remembered, device=device)[None, :] < start + (block * block_length)[:, None]
    return torch.cat([earlier, block[:, None] == block[None, :]], dim=1)


def without_self(mask: Tensor | None, noise: Tensor, remembered: int) -> Tensor:
    """A :func:`canvas_mask` in which no position of ``noise [B, N]`` sees itself: ``[B, 1, N, M + N]``."""
    length = noise.shape[1]
    itself = F.pad(torch.eye(length, dtype=torch.bool, device=noise.device), (remembered, 0))
    visible = ~(itself & noise[:, :, None])[:, None]
    return visible if mask is None else visible & mask


def ragged_mask(starts: Tensor, remembered: int, length: int, causal: bool) -> Tensor:
    """``[B, 1, N, M + N]`` for rows that begin at ``starts [B]``: each sees that many of the remembered tokens.

    Of the pass itself a position sees everything, or, with ``causal``, itself and what is before it.
    """
    own = torch.ones(length, length, dtype=torch.bool, device=starts.device)
    return ahead_mask(starts, remembered, own.tril() if causal else own)


def behind_each(length: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For a pass over ``length`` read tokens and a canvas of ``width`` positions behind each of them, T positions in all.

    Where each lies, ``[T]`` places from the first token, and who sees whom, ``[T, T]``: token i the tokens up to i, a
    position of canvas i these too, and its own canvas.
    """
    token, canvas = torch.arange(length, device=device), torch.arange(length * width, device=device)
    place = torch.cat([token, canvas // width + canvas % width + 1])
    behind = torch.cat([token, canvas // width])  # the last token that each sees
    number = torch.cat([-1 - token, canvas // width])  # no two tokens are of one canvas
    sees = F.pad(behind[:, None] >= token, (0, length * width)) | (number[:, None] == number)
    return place, sees


def ahead_mask(start: Start, remembered: int, sees: Tensor) -> Tensor:
    """``[(B, 1,) T, M + T]``: ``sees [T, T]`` of the pass itself, and of M remembered tokens those before ``start``."""
    if not isinstance(start, Tensor):
        return F.pad(sees, (remembered, 0), value=True)
    earlier = torch.arange(remembered, device=start.device) < start[:, None]
    rows, length = len(start), len(sees)
    return torch.cat(
        [earlier[:, None, None].expand(rows, 1, length, -1), sees.expand(rows, 1, -1, -1)], dim=3
    )


def joined_mask(reading: Tensor, canvas: Tensor | None, canvases: int = 1) -> Tensor:
    """``[(B, 1,) (1 + C) N, (1 + C) N]``: the masks of a pass over a text ``[N, N]`` and C canvases beside it as one.

    ``canvas`` is the mask of each canvas and has its own positions as its last ones; the others are the text's.
    """
    length = reading.shape[-1]
    if canvas is None:
        canvas = torch.ones_like(reading)
    canvas = F.pad(canvas, (2 * length - canvas.shape[-1], 0))
    text, own = canvas[..., :length], canvas[..., length:]
    rows = [F.pad(reading, (0, canvases * length)).expand(*canvas.shape[:-2], -1, -1)]
    for before in range(canvases):
        behind = canvases - 1 - before
        rows.append(torch.cat([text, F.pad(own, (before * length, behind * length))], dim=-1))
    return torch.cat(rows, dim=-2)


@lru_cache(maxsize=256)
def tiled_mask(length: int, canvases: int, block_length: int, device: torch.device) -> BlockMask:
    """:func:`joined_mask` of a text that is read and C canvases beside it, for a kernel that skips tiles without any
    visible pair (Dong et al. 2024, arXiv:2412.05496). ``block_length`` 0: the whole text is one block.
    """
    place = torch.arange(length, device=device)
    block = place // (block_length or length)
    # Tokens of the text that each position sees, and what it belongs to; no two tokens of the text belong together.
    sees = torch.cat([place + 1, (block * (block_length or length)).repeat(canvases)])
    number = torch.arange(canvases, device=device)[:, None]
    group = torch.cat([-1 - place, (number * length + block).flatten()])

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key < sees[query]) | (group[query] == group[key])

    return create_block_mask(visible, None, None, len(sees), len(sees), device=str(device))
