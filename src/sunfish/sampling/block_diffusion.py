"""The denoising loop: block by block, streaming, with memory, for every process and every infill."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.config.sampling import VERIFIED, SamplingSettings
from sunfish.processes.schedules import time_grid
from sunfish.rng import Streams
from sunfish.sampling.logits import sharpen
from sunfish.sampling.remasking import Reader, revised
from sunfish.sampling.unmasking import get_sampler
from sunfish.types import Condition, Denoiser, Past, Process, State


class Snapshot(NamedTuple):
    """A block ``x [B, <= block_length]`` that begins at position ``start``, after one denoising step.

    ``done``: it is finished, and ``x`` holds ids. Before that it is the state of the process.
    """

    start: int
    x: State
    done: bool


def generate(
    denoiser: Denoiser,
    process: Process,
    cond: Condition,
    given: Tensor,
    free: Tensor,
    rng: Streams,
    settings: SamplingSettings,
    end: int | None = None,
) -> Iterator[Tensor]:
    """The ids of each block ``[B, <= block_length]`` as it is done; see :func:`snapshots`."""
    for snapshot in snapshots(denoiser, process, cond, given, free, rng, settings, end):
        if snapshot.done:
            yield snapshot.x


@torch.inference_mode()
def snapshots(
    denoiser: Denoiser,
    process: Process,
    cond: Condition,
    given: Tensor,
    free: Tensor,
    rng: Streams,
    settings: SamplingSettings,
    end: int | None = None,
) -> Iterator[Snapshot]:
    """Denoise the free positions block by block; yield the state after every step, and each block as it is done.

    ``given [B, N]`` holds the known ids, ``free [B, N]`` is True where a token shall be drawn; the known ones have
    time 0 and never change. With ``end`` the loop stops after the block in which every row has that id at a
    position after the first, so that nothing behind the end of a text is computed.
    """
    length = given.shape[1]
    block = settings.block_length or length
    grid = time_grid(settings.num_steps)
    sampler = get_sampler(settings.sampler)
    if settings.sampler.partition(":")[0] not in process.samplers:
        raise ValueError(
            f"sampler is {settings.sampler!r}, but the samplers of this model's process are: "
            f"{', '.join(process.samplers)}, {VERIFIED}"
        )
    past: Past | None = None
    last: Tensor | None = None  # what the memory expects at the block's first position
    ended = torch.zeros(given.shape[0], dtype=torch.bool, device=given.device)
    for start in range(0, length, block):
        known, open_ = given[:, start : start + block], free[:, start : start + block]
        # Blocks draw from streams of their own: rows need different numbers of steps, and wait for one another.
        block_rng = rng.fork(start)
        x = process.corrupt(known, open_.double(), denoiser.table, block_rng)
        yield Snapshot(start, x, False)
        logits: Tensor | None = None
        belief: Tensor | None = None
        for t, s in pairwise(grid):
            if not bool(open_.any()):
                break
            if logits is None or process.sees_time:
                belief = denoiser(x, t * open_.float(), cond, past, start)
                logits = sharpen(belief, settings)
            stepped = process.step(logits, x, t, s, denoiser.table, block_rng, sampler, belief)
            moved = torch.where(open_ if x.ndim == 2 else open_[..., None], stepped, x)
            # Where the time is not seen, the same canvas has the same logits: no pass is repeated.
            if not torch.equal(moved, x):
                x, logits = moved, None
                yield Snapshot(start, x, False)
                if (
                    not process.sees_time
                    and sampler.reopen is None
                    and not bool(process.scored(x, open_.float(), denoiser.table).any())
                ):
                    break
        ids = process.decode(x, denoiser.table)
        if settings.revisions and bool(open_.any()):
            reader = Reader(denoiser, cond, past, last)
            sharp = partial(sharpen, settings=settings)
            for version in revised(reader, process, ids, open_, start, settings.revisions, sharp, block_rng):
                ids = version
                yield Snapshot(start, ids, False)
        yield Snapshot(start, ids, True)
        if end is not None:
            ended = ended | (ids[:, 1:] if start == 0 else ids).eq(end).any(dim=1)
            if bool(ended.all()):
                return
        if start + block < length:
            past, logits = denoiser.remember(ids, cond, past)
            last = logits[:, -1:]
