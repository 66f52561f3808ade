"""Weights of which each process holds some rows (FSDP2): how a network is sharded, and moved as a whole.

Tensors are told apart by ``to_local``: importing DTensor takes a second, which a run in one process need not wait.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Sequence
from functools import _lru_cache_wrapper
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from sunfish.model.transformer import Transformer


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only some rows of ``tensor``."""
    return hasattr(tensor, "to_local")


def local(tensor: Any) -> Tensor:
    """The rows of ``tensor`` that this process holds, which share its memory; all of them where it is not sharded."""
    rows: Tensor = tensor.to_local() if is_sharded(tensor) else tensor
    return rows


def whole(tensor: Any) -> Tensor:
    """All rows of ``tensor``, of which every process must ask for them at the same time."""
    rows: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return rows


def whole_state(state: Any, keeps: bool) -> Any:
    """``state`` with all its tensors whole and in memory, for the process that ``keeps`` them; the others get None."""

    def gather(tensor: Tensor) -> Tensor | None:
        rows = whole(tensor).detach()
        return rows.cpu() if keeps else None

    return tree_map_only(Tensor, gather, state)


def without_shards(state: Any) -> Any:
    """A copy of ``state`` in memory; of tensors that are sharded it has the sizes, on the device ``meta``."""

    def copy(tensor: Tensor) -> Tensor:
        if is_sharded(tensor):
            return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        return tensor.detach().to("cpu", copy=True)

    return tree_map_only(Tensor, copy, state)


def sharded_like(tensor: Tensor, model: Any) -> Tensor:
    """The rows of ``tensor`` that this process holds of ``model``, sharded like it; as it is where that is not.

    Where ``tensor`` has no numbers, the result has room for them.
    """
    if tensor.is_meta:
        return torch.zeros_like(model, dtype=tensor.dtype) if tensor.ndim == model.ndim else row_state(model)
    if not is_sharded(model):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # Every process has read the same tensor, so nothing need be sent.
    return distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements, src_data_rank=None)


def row_state(parameter: Any) -> Tensor:
    """A zero for each row of ``parameter``, float32, held by the process that holds the row."""
    if not is_sharded(parameter):
        return torch.zeros(parameter.shape[0], device=parameter.device)
    from torch.distributed.tensor import zeros

    mesh, placements = parameter.device_mesh, parameter.placements
    return zeros(parameter.shape[0], dtype=torch.float32, device_mesh=mesh, placements=placements)


def shard(module: nn.Module, model: Transformer, dtype: torch.dtype) -> None:
    """Share out the weights of ``model``, whose passes are calls of ``module``, to all processes (FSDP2).

    The weights of a block are gathered for its forward and for its backward pass, in ``dtype``; gradients are summed in
    float32. All others are gathered once a step. A process without others is a group of one.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    if not dist.is_initialized():
        dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    device = model.token_embedding.device
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    precision = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    # Its advice is for outputs that are changed in place, which no output of a block is.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=precision)
    fully_shard(module, mesh=mesh)


def forget_meshes() -> None:
    """Empty DTensor's caches, which hold the meshes of all tensors that there were, and so their process group."""
    from torch.distributed.tensor._redistribute import clear_redistribute_planner_cache
    from torch.distributed.tensor.debug import _clear_sharding_prop_cache

    _clear_sharding_prop_cache()
    clear_redistribute_planner_cache()
    for cache in gc.get_objects():
        if type(cache) is _lru_cache_wrapper and cache.__module__.startswith("torch.distributed.tensor"):
            cache.cache_clear()


def rows_held(rows: int, rank: int, size: int) -> int:
    """How many of ``rows`` process ``rank`` of ``size`` holds: equal chunks, the last ones shorter or empty."""
    chunk = -(-rows // size)
    return max(0, min(rows - rank * chunk, chunk))


def gather_rows(matrices: Sequence[nn.Parameter], shards: Sequence[Tensor]) -> list[Tensor]:
    """Bring sharded tensors together, the first at process 0, the second at process 1, and so on in turn.

    Args:
        matrices: whose rows are sharded.
        shards: for each matrix, as many rows ``[held, ...]`` as this process holds of it.

    Returns:
        The whole tensors of ``matrices[rank::size]``.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    sent = [[shards[i].flatten() for i in range(r, len(shards), size)] for r in range(size)]
    mine = range(rank, len(matrices), size)
    widths = [shards[i][:1].numel() if len(shards[i]) else shards[i].shape[1:].numel() for i in mine]
    counts = [
        [rows_held(matrices[i].shape[0], r, size) * width for i, width in zip(mine, widths, strict=True)]
        for r in range(size)
    ]
    received = _exchange(sent, [sum(of_rank) for of_rank in counts])
    pieces = [torch.split(part, of_rank) for part, of_rank in zip(received, counts, strict=True)]
    return [
        torch.cat([of_rank[k] for of_rank in pieces]).view(matrices[i].shape[0], *shards[i].shape[1:])
        for k, i in enumerate(mine)
    ]


def scatter_rows(
    matrices: Sequence[nn.Parameter], tensors: Sequence[Tensor], like: Sequence[Tensor]
) -> list[Tensor]:
    """The inverse of :func:`gather_rows`: the rows that this process holds of each matrix.

    Args:
        matrices: whose rows are sharded.
        tensors: the whole ones of ``matrices[rank::size]``.
        like: what :func:`gather_rows` was given.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    mine = matrices[rank::size]
    sent: list[list[Tensor]] = [[] for _ in range(size)]
    for matrix, tensor in zip(mine, tensors, strict=True):
        held = [rows_held(matrix.shape[0], r, size) for r in range(size)]
        for r, rows in enumerate(torch.split(tensor, held)):
            sent[r].append(rows.flatten())
    counts = [[like[i].numel() for i in range(r, len(like), size)] for r in range(size)]
    if not tensors:
        sent = [[like[0].new_zeros(0)] for _ in range(size)]
    received = _exchange(sent, [sum(of_rank) for of_rank in counts])
    pieces = [torch.split(part, of_rank) for part, of_rank in zip(received, counts, strict=True)]
    return [pieces[i % size][i // size].view(like[i].shape) for i in range(len(like))]


def _exchange(sent: Sequence[Sequence[Tensor]], counts: Sequence[int]) -> list[Tensor]:
    """Send ``sent[r]`` to each process r, and receive ``counts[r]`` numbers from it."""
    some = next(part for parts in sent for part in parts)
    empty = [some.new_zeros(0)]
    flat = [torch.cat([*parts, *empty]) for parts in sent]
    received = some.new_empty(sum(counts))
    dist.all_to_all_single(received, torch.cat(flat), list(counts), [len(part) for part in flat])
    return list(torch.split(received, list(counts)))
