"""The denoising loop: block by block, streaming, with a KV cache, for every process and every policy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.model.denoiser import Denoiser
from sunfish.model.kv_cache import KVCache
from sunfish.processes.schedules import time_grid
from sunfish.rng import RowGenerators
from sunfish.sampling.logits import warp
from sunfish.sampling.unmasking import get_policy
from sunfish.types import Condition, Process, State, UnmaskingPolicy


class Snapshot(NamedTuple):
    """A block ``x [B, <= block_length]`` that begins at position ``start``, after one denoising step.

    ``done``: it is finished, and ``x`` holds ids. Before that it is the state of the process.
    """

    start: int
    x: State
    done: bool


@torch.inference_mode()
def block_diffusion(
    denoiser: Denoiser,
    process: Process,
    condition: Condition,
    ids: Tensor,
    free: Tensor,
    rng: RowGenerators,
    config: GenerationConfig,
    end: int | None = None,
) -> Iterator[Snapshot]:
    """Denoise the free positions block by block; yield the state after every step, and each block as it is done.

    Args:
        denoiser: Predicts clean tokens; guided or not.
        process: The corruption that is undone.
        condition: The encoded prompts.
        ids: [B, N] the known ids.
        free: [B, N] bool, True where a token shall be drawn; the others have time 0 and never change.
        rng: One generator a row.
        config: Steps, block length, policy, temperature.
        end: Stop after the block in which every row has this id at a position after the first; None: never.

    Yields:
        Snapshots, the blocks in order.

    Raises:
        UsageError: The process does not understand the policy.
    """
    length = ids.shape[1]
    block_length = config.block_length or length
    policy, grid = get_policy(config.sampler, process), time_grid(config.num_steps)
    cache: KVCache | None = None
    ended = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
    for start in range(0, length, block_length):
        window = slice(start, start + block_length)
        # Rows need different numbers of steps; with generators of its own, a block's draws depend on none before it.
        block = _Block(ids[:, window], free[:, window], start, rng.fork(start))
        x = block.ids
        for x in _denoise(denoiser, process, condition, cache, block, policy, grid, config):
            yield Snapshot(start, x, False)
        done = process.decode(x)
        yield Snapshot(start, done, True)
        if end is not None:
            ended = ended | (done[:, 1:] if start == 0 else done).eq(end).any(dim=1)
            if bool(ended.all()):
                return
        if start + block_length < length:
            _, cache = denoiser.prefill(done, condition, cache)


class _Block(NamedTuple):
    """What a block begins with: known ids, free positions, its place, its random numbers."""

    ids: Tensor  # [B, n]
    free: Tensor  # [B, n] bool
    start: int
    rng: RowGenerators


def _denoise(
    denoiser: Denoiser,
    process: Process,
    condition: Condition,
    cache: KVCache | None,
    block: _Block,
    policy: UnmaskingPolicy,
    grid: list[float],
    config: GenerationConfig,
) -> Iterator[State]:
    """Every state of one block, from noise at time 1 to time 0."""
    x, free = process.corrupt(block.ids, block.free.double(), block.rng), block.free
    yield x
    logits: Tensor | None = None
    model_logits: Tensor | None = None
    for t, s in pairwise(grid):
        if not bool(free.any()):
            return
        if logits is None or process.time_conditioned:
            model_logits = denoiser.denoise(x, t * free.float(), condition, cache, block.start)
            logits = warp(model_logits, config)
        stepped = process.step(logits, x, t, s, block.rng, policy, model_logits)
        moved = torch.where(free if x.ndim == 2 else free[..., None], stepped, x)
        if torch.equal(moved, x):
            continue  # without time conditioning, the same canvas has the same logits: no pass is repeated
        x, logits = moved, None
        yield x
        finished = not process.time_conditioned and not bool(process.loss_mask(x, free.float()).any())
        if finished and policy.remask is None:
            return
