"""Texts longer than the context: written window by window, each beginning with the end of the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sunfish.rng import RowGenerators
from sunfish.sampling.block_diffusion import Snapshot

Continue = Callable[[Tensor, int, RowGenerators], Iterator[Snapshot]]


def sliding_window(
    write: Continue, start: Tensor, length: int, context: int, rng: RowGenerators, end: int
) -> Iterator[Snapshot]:
    """The start mark, then every state of a text that may be longer than the context.

    A full window is followed by one that begins with the start mark and the last half of its tokens, prefilled again;
    so the cache does not grow, and each token has from half to all of the context before it. Stops where every row has
    the id ``end``.

    Args:
        write: Continues a prefix [B, n] up to a number of positions, at most ``context``, with generators.
        start: [B, 1] the start mark.
        length: Positions of the text at the most.
        context: Positions of a window.
        rng: One generator a row.
        end: The id that ends a text.

    Yields:
        Snapshots; states before a prefix's end are left out.
    """
    yield Snapshot(0, start, True)
    prefix, written, number = start, start.shape[1], 0
    ended = torch.zeros(start.shape[0], dtype=torch.bool, device=start.device)
    while written < length:
        known = prefix.shape[1]
        parts = [prefix]
        room = min(context, known + length - written)
        for state in write(prefix, room, rng.fork("window", number) if number else rng):
            hidden = max(0, known - state.start)
            x = state.x[:, hidden:]
            if x.shape[1]:
                yield Snapshot(state.start + hidden + written - known, x, state.done)
                if state.done:
                    parts.append(x)
        text = torch.cat(parts, dim=1)
        ended = ended | text[:, known:].eq(end).any(dim=1)
        if bool(ended.all()):
            return
        written += text.shape[1] - known
        prefix = torch.cat([start, text[:, -(context // 2 - 1) :]], dim=1)
        prefix[ended] = end  # nobody reads what follows a text's end
        number += 1
