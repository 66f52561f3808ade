"""Who may see whom: masks ``[..., N, M + N]`` over M remembered positions and N of the pass, True = visible."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.types import Start


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
