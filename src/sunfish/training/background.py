"""A checkpoint that all processes of a run write, each its rows, while the run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import torch.distributed as dist
from torch import Tensor

from sunfish.checkpoint.folder import Shards
from sunfish.disk.writing import temporary_path
from sunfish.training.ranks import TIMEOUT


class BackgroundSave:
    """At most one checkpoint at a time; its errors are those of :meth:`wait`, on every process."""

    def __init__(self) -> None:
        """Nothing is being written. All processes must call it at the same time."""
        # Processes agree on what they write from another thread than that of the steps.
        self._group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        self._written: Future[Any] | None = None
        self._temporary = Path()

    def start(self, folder: Path, rows: dict[str, Tensor], complete: Callable[[Shards], object]) -> None:
        """Copy ``rows`` to memory and begin to write them. All processes must call it at the same time.

        Args:
            folder: The checkpoint.
            rows: The sharded tensors by name.
            complete: What the main process does when all have written.
        """
        from torch.distributed.checkpoint.state_dict_saver import async_save

        from sunfish.checkpoint.shards import ShardWriter

        names = [temporary_path(folder).name]
        dist.broadcast_object_list(names, src=0, group=self._group)
        self._temporary = temporary = folder.with_name(names[0])
        writer = ShardWriter(temporary, lambda hashes: complete(Shards(temporary, hashes)))
        self._written = cast(Future[Any], async_save(rows, storage_writer=writer, process_group=self._group))

    @property
    def failed(self) -> bool:
        """Whether the checkpoint could not be written, as far as this process knows."""
        return self._written is not None and self._written.done() and self._written.exception() is not None

    def wait(self) -> bool:
        """Return when the checkpoint is whole.

        Returns:
            Whether there was one to wait for.

        Raises:
            WriteError: A process could not write a file; nothing of the checkpoint is left.
        """
        written, self._written = self._written, None
        if written is None:
            return False
        from sunfish.checkpoint.shards import first_failure

        if error := written.exception():
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise first_failure(error) from None
        return True
