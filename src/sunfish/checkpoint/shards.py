"""The tensors of a trainer's state as all processes write them, each its rows (torch.distributed.checkpoint).

``trainer/`` of a checkpoint then holds ``.metadata``, which says where which rows are, and a file of each process. Any
number of processes reads them. This module takes a third of a second to import, so it is imported where shards are.
"""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from sunfish.checkpoint.links import STATE
from sunfish.checkpoint.metadata import USE_EARLIER
from sunfish.disk.writing import writing
from sunfish.utils import file_sha256, first_line

FOLDER = Path(STATE).parent.as_posix()
METADATA = ".metadata"
# All that such a list is made of; unpickling anything else could run code.
ALLOWED = frozenset(
    [
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        *(
            ("torch.distributed.checkpoint.metadata", name)
            for name in (
                *("ChunkStorageMetadata", "Metadata", "MetadataIndex", "TensorProperties"),
                *("TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
            )
        ),
    ]
)


@dataclass(frozen=True)
class HashedResult(WriteResult):
    """What a process has written of a tensor, with the hash of the file.

    Attributes:
        file: The name of the file, below the checkpoint.
        sha256: The hash.
    """

    file: str
    sha256: str


class ShardWriter(FileSystemWriter):
    """Writes the rows of each process to a file of its own; the main process then completes the checkpoint."""

    def __init__(self, checkpoint: Path, complete: Callable[[dict[str, str]], object]) -> None:
        """Write to ``checkpoint``.

        Args:
            checkpoint: The temporary folder of the checkpoint, the same for all processes.
            complete: What the main process does when all have written; it gets the hashes of their files.
        """
        super().__init__(checkpoint / FOLDER)
        self.folder, self.complete = checkpoint / FOLDER, complete

    def storage_meta(self) -> StorageMeta | None:
        """Nothing: it would name folders of this machine."""
        return None

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write the rows that this process holds, and hash the file."""
        file = self.folder / f"{plan.storage_data.prefix}0.distcp"
        with writing(file):
            results = super().write_data(plan, planner).value()
        name, sha256 = f"{FOLDER}/{file.name}", file_sha256(file)
        written: Future[list[WriteResult]] = Future()
        written.set_result(
            [
                HashedResult(part.index, part.size_in_bytes, part.storage_data, name, sha256)
                for part in results
            ]
        )
        return written

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """As the main process: write which rows are where, then complete the checkpoint."""
        parts = [part for of_process in results for part in of_process if isinstance(part, HashedResult)]
        hashes = {part.file: part.sha256 for part in parts}
        if missing := [name for name in hashes if not (self.folder.parent / name).is_file()]:
            raise FileNotFoundError(
                f"{missing[0]} of another machine cannot be seen here; let --checkpoints be a folder that all "
                "machines of the run share"
            )
        with writing(self.folder / METADATA):
            super().finish(metadata, results)
        self.complete(hashes)


class ShardReader(FileSystemReader):
    """Reads rows from the files of a checkpoint, and nothing else."""

    def __init__(self, checkpoint: Path, files: Collection[str], tensors: Mapping[str, Tensor]) -> None:
        """Read from ``checkpoint``.

        Args:
            checkpoint: Its folder.
            files: The files that it has.
            tensors: What will be read; they have the sizes and the number formats that are expected.
        """
        super().__init__(checkpoint / FOLDER)
        self.file, self.files, self.tensors = checkpoint / FOLDER / METADATA, files, tensors

    def read_metadata(self, *words: Any, **named: Any) -> Metadata:
        """Where which rows are.

        Raises:
            ValueError: They are not those of the tensors, or lie elsewhere.
        """
        with self.file.open("rb") as file:
            metadata = _Unpickler(file).load()
        for name, tensor in self.tensors.items():
            _check_tensor(name, tensor, metadata.state_dict_metadata.get(name))
        for place in metadata.storage_data.values():
            if f"{FOLDER}/{place.relative_path}" not in self.files:
                raise ValueError(f"it names {place.relative_path!r:.80}, which is none of its files")
        assert isinstance(metadata, Metadata)
        return metadata


def read_shards(checkpoint: Path, files: Collection[str], tensors: dict[str, Tensor]) -> None:
    """Fill ``tensors`` with what the checkpoint has by their names, each process the rows that it holds.

    Args:
        checkpoint: Its folder.
        files: The files that it has; their hashes have been compared.
        tensors: Whole or sharded over any number of processes.

    Raises:
        ValueError: The checkpoint has other tensors, or is damaged.
    """
    reader = ShardReader(checkpoint, files, tensors)
    try:
        reader.read_metadata()
        with warnings.catch_warnings():
            # Processes need not agree on what each of them reads.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(tensors, storage_reader=reader, no_dist=True)
    except (
        Exception,
        CheckpointException,
    ) as why:  # the unpickler and PyTorch's reader have kinds of their own
        fault = first_failure(why)
        if isinstance(fault, MemoryError):
            raise fault from why
        text = first_line(fault).rstrip(".")
        raise ValueError(f"{reader.file} is damaged ({text}); {USE_EARLIER}") from why


def first_failure(error: BaseException) -> BaseException:
    """What has failed in the first process that an error of PyTorch names; any other error as it is."""
    if not isinstance(error, CheckpointException):
        return error
    failures: list[tuple[BaseException, Any]] = list(error.failures.values())
    return failures[0][0]


class _Unpickler(pickle.Unpickler):
    """Unpickles sizes, names and places only."""

    def find_class(self, module: str, name: str) -> Any:
        """A class of ``ALLOWED``, or a number format of PyTorch."""
        if (module, name) in ALLOWED:
            return super().find_class(module, name)
        value = getattr(torch, name, None) if module == "torch" else None
        if isinstance(value, torch.dtype):
            return value
        raise pickle.UnpicklingError(f"it holds {module}.{name}"[:100])


def _check_tensor(name: str, tensor: Tensor, entry: Any) -> None:
    """Refuse the entry of another tensor, or one of which rows are missing."""
    if not isinstance(entry, TensorStorageMetadata):
        raise ValueError(f"it has no tensor {name}")
    if (entry.size, entry.properties.dtype) != (tensor.shape, tensor.dtype):
        raise ValueError(f"{name} has another size")
    if sum(math.prod(chunk.sizes) for chunk in entry.chunks) != tensor.numel():
        raise ValueError(f"rows of {name} are missing")
