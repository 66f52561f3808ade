"""What a checkpoint holds for resuming: the trainer's state, its tensors in one file or shared out to many."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from sunfish.checkpoint.links import STATE, read_settled
from sunfish.checkpoint.metadata import SHARD, USE_EARLIER, check_resumable, metadata_of, verify
from sunfish.checkpoint.trainer_state import named_tensors, read_state


def load_trainer(path: Path) -> dict[str, Any]:
    """What :func:`sunfish.checkpoint.folder.save_checkpoint` kept for resuming, all of it in memory.

    Only tensors and plain values are unpickled.

    Raises:
        ValueError: the folder is no checkpoint, is damaged, or has been pruned to its weights.
    """
    return read_settled(path, _load)


def read_trainer(path: Path) -> dict[str, Any]:
    """As :func:`load_trainer`, but tensors that were written by several processes stay on the disk.

    Returns:
        The state; in their place are tensors of their sizes on the device ``meta``, for :func:`fill_shards`.

    Raises:
        ValueError: as :func:`load_trainer`.
    """
    return read_settled(path, _read)


def fill_shards(
    folder: Path, state: dict[str, Any], tensors: Mapping[str, Tensor], rank: int = 0, size: int = 1
) -> None:
    """Read the numbers of the tensors that ``state`` has without, each process those of the rows that it holds.

    Args:
        folder: the checkpoint.
        state: what :func:`read_trainer` has read of it.
        tensors: where the numbers go, by the names of :func:`named_tensors`; whole or sharded.
        rank: this process, which compares every ``size``-th file with its hash.
        size: how many processes there are.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    names = [name for name, tensor in named_tensors(state) if tensor.is_meta]
    if not names:
        return
    from sunfish.checkpoint.shards import read_shards

    metadata = metadata_of(folder)
    files = [name for name in metadata["files"] if SHARD.fullmatch(name)]
    verify(folder, metadata, tuple(files[rank::size]))
    read_shards(folder, files, {name: tensors[name] for name in names})


def _load(folder: Path) -> dict[str, Any]:
    state = _read(folder)
    needed = sum(tensor.nbytes for _, tensor in named_tensors(state) if tensor.is_meta)
    if needed > sum(file.stat().st_size for file in (folder / STATE).parent.iterdir()):
        raise ValueError(
            f"{folder / STATE} is damaged (its tensors are larger than the files); {USE_EARLIER}"
        )
    whole: dict[str, Any] = tree_map_only(Tensor, _allocated, state)
    fill_shards(folder, state, dict(named_tensors(whole)))
    return whole


def _allocated(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="cpu") if tensor.is_meta else tensor


def _read(folder: Path) -> dict[str, Any]:
    metadata = metadata_of(folder)
    check_resumable(folder)
    verify(folder, metadata, (STATE,))
    return read_state(folder / STATE, metadata["step"])
