"""Who sees whom in the pass of training: a text that is read, and beside it canvases of it, one behind the other.

Many pairs of positions are invisible there, and what does not take part need not be computed. A CPU goes through parts,
stretches of positions with the keys that they see; a GPU through tiles of one kernel.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from sunfish.model.kernels.autograd import Part
from sunfish.model.masks import canvas_mask, causal_mask, without_self

Parts = tuple[Part, ...]  # together they have every position once, in order
# One mask for a pass (None: everything is visible); or the parts or tiles of one over a text and canvases beside it.
Visible = Tensor | None | Parts | BlockMask


@lru_cache(maxsize=256)
def parts_of(length: int, canvases: int, block_length: int, device: torch.device) -> Parts:
    """The parts of a text of N positions and C canvases beside it, (1 + C) N in all: the text, and each canvas.

    Reading sees itself and what is before it. A position of a canvas sees its block there, and the text in front of
    that. ``block_length`` 0: the whole text is one block.
    """
    text = slice(0, length)
    parts: list[Part] = [(text, (text,), causal_mask(length, 0, device))]
    whole = block_length == 0 or block_length >= length  # then it sees nothing of the text
    mask = canvas_mask(length, 0 if whole else length, 0, block_length, device)
    for first in range(length, (1 + canvases) * length, length):
        own = slice(first, first + length)
        parts.append((own, (own,) if whole else joined(text, own), mask))
    return tuple(parts)


def joined(*stretches: slice) -> tuple[slice, ...]:
    """The same stretches, those that touch as one."""
    found: list[slice] = []
    for stretch in stretches:
        if found and found[-1].stop == stretch.start:
            found[-1] = slice(found[-1].start, stretch.stop)
        else:
            found.append(stretch)
    return tuple(found)


def keys_of(part: Part, places: Tensor) -> Tensor:
    """What ``places [..., (1 + C) N]`` has at the keys that a part sees, ``[..., M]``."""
    return torch.cat([places[..., stretch] for stretch in part[1]], dim=-1)


def without_self_in(parts: Parts, noise: Tensor) -> Parts:
    """The parts where no position of ``noise [B, 2 N]``, all on the one canvas, sees itself: ``[B, 1, N, M]``."""
    text, (rows, seen, mask) = parts
    before = seen[0].stop - seen[0].start - (rows.stop - rows.start)  # keys in front of its own
    return text, (rows, seen, without_self(mask, noise[:, rows], before))


def behind(parts: Parts, shown: Tensor, visible: Tensor) -> Parts:
    """The parts with keys in front of all others that every position sees where ``shown [B, 1, 1, P]`` is True.

    Of the others those are seen as before that ``visible [B, (1 + C) N]`` leaves.
    """
    width, found = shown.shape[3], []
    for part in parts:
        rows, seen, mask = part
        left = keys_of(part, visible)[:, None, None, :]
        left = left if mask is None else left & mask
        size = left.shape[2]
        moved = (slice(stretch.start + width, stretch.stop + width) for stretch in seen)
        mask = torch.cat([shown.expand(-1, -1, size, -1), left], dim=3)
        found.append((rows, joined(slice(0, width), *moved), mask))
    return tuple(found)


@lru_cache(maxsize=256)
def tiled_mask(length: int, canvases: int, block_length: int, device: torch.device) -> BlockMask:
    """:func:`parts_of` for a kernel that skips tiles without any visible pair (Dong et al. 2024, arXiv:2412.05496)."""
    block_length = block_length or length
    place = torch.arange(length, device=device)
    block = place // block_length
    # Tokens of the text that each position sees, and what it belongs to; no two tokens of the text belong together.
    sees = torch.cat([place + 1, (block * block_length).repeat(canvases)])
    number = torch.arange(canvases, device=device)[:, None]
    group = torch.cat([-1 - place, (number * length + block).flatten()])

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key < sees[query]) | (group[query] == group[key])

    return create_block_mask(visible, None, None, len(sees), len(sees), device=str(device))
