"""Rows of tensors that several processes write: read by any other number of them, and nothing but rows is read."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from sunfish.checkpoint.shards import FOLDER, ShardWriter, read_shards
from sunfish.utils import file_sha256

TENSORS = {
    "model.weight": torch.arange(14.0).view(7, 2),  # 7 rows: the last process of four has one
    "model.one": torch.full((1, 3), 3.0),  # most processes have none
    "optimizers.0.state.0.row_mean_square": torch.arange(5.0) ** 2,
}
METADATA = f"{FOLDER}/.metadata"


@contextmanager
def process(rank: int, size: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """Be one of several processes that never speak; yields how a tensor is sharded over them."""
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)
    mesh = init_device_mesh("cpu", (size,))
    try:
        yield lambda tensor: distribute_tensor(tensor.clone(), mesh, [Shard(0)], src_data_rank=None)
    finally:
        dist.destroy_process_group()


def write(checkpoint: Path, size: int, tensors: Mapping[str, Tensor] = TENSORS) -> dict[str, str]:
    """Write as ``size`` processes, as PyTorch's ``save`` does; returns the hashes of the files."""
    hashes: dict[str, str] = {}
    planners = [DefaultSavePlanner() for _ in range(size)]
    writer = ShardWriter(checkpoint, hashes.update)
    plans = []
    for rank, planner in enumerate(planners):
        with process(rank, size) as shard:
            planner.set_up_planner({name: shard(tensor) for name, tensor in tensors.items()}, None, rank == 0)
            plans.append(writer.prepare_local_plan(planner.create_local_plan()))
    whole, metadata = planners[0].create_global_plan(plans)
    whole = writer.prepare_global_plan(whole)
    results = [
        writer.write_data(p.finish_plan(plan), p).value() for p, plan in zip(planners, whole, strict=True)
    ]
    writer.finish(metadata, results)
    return hashes


def files(checkpoint: Path) -> list[str]:
    return [path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()]


def blank() -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, -1.0) for name, tensor in TENSORS.items()}


@pytest.mark.parametrize(("writers", "readers"), [(1, 2), (2, 1), (2, 4), (4, 2), (3, 8)])
def test_any_number_of_processes_reads_what_any_number_wrote(
    tmp_path: Path, writers: int, readers: int
) -> None:
    write(tmp_path, writers)
    pieces: dict[str, list[Tensor]] = {name: [] for name in TENSORS}
    for rank in range(readers):
        with process(rank, readers) as shard:
            rows = {name: shard(tensor) for name, tensor in blank().items()}
            read_shards(tmp_path, files(tmp_path), rows)
            for name, value in rows.items():
                pieces[name].append(value.to_local())  # type: ignore[attr-defined]
    for name, tensor in TENSORS.items():
        assert torch.equal(torch.cat(pieces[name]), tensor), name


def test_whole_tensors_are_read_without_any_group(tmp_path: Path) -> None:
    write(tmp_path, 4)
    tensors = blank()
    read_shards(tmp_path, files(tmp_path), tensors)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_each_file_has_its_hash_and_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    hashes = write(tmp_path, 2)
    assert sorted(hashes) == [f"{FOLDER}/__0_0.distcp", f"{FOLDER}/__1_0.distcp"]
    assert hashes == {name: file_sha256(tmp_path / name) for name in hashes}
    assert tmp_path.name.encode() not in (tmp_path / METADATA).read_bytes()


def test_a_folder_that_machines_do_not_share_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process does not see the file of another machine."""
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: path.name != "__1_0.distcp" and is_file(path))
    with pytest.raises(FileNotFoundError, match=r"^trainer/__1_0\.distcp of another machine .* all machines"):
        write(tmp_path, 2)


class Code:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        import os

        return os.system, ("touch /tmp/never",)


def bytes_in_place_of_a_tensor(metadata: Metadata) -> None:
    metadata.state_dict_metadata["model.one"] = (
        BytesStorageMetadata()
    )  # would be unpickled with no allow-list


def another_file(metadata: Metadata) -> None:
    for place in metadata.storage_data.values():
        place.relative_path = "../../secret"


def missing_rows(metadata: Metadata) -> None:
    metadata.state_dict_metadata["model.weight"].chunks.pop()


def other_size(metadata: Metadata) -> None:
    metadata.state_dict_metadata["model.weight"].size = torch.Size([7, 3])


def no_tensor(metadata: Metadata) -> None:
    del metadata.state_dict_metadata["model.weight"]


def code(metadata: Metadata) -> None:
    metadata.planner_data = Code()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (bytes_in_place_of_a_tensor, "it holds torch.distributed.checkpoint.metadata.BytesStorageMetadata"),
        (another_file, "it names '../../secret', which is none of its files"),
        (missing_rows, "rows of model.weight are missing"),
        (other_size, "model.weight has another size"),
        (no_tensor, "it has no tensor model.weight"),
        (code, "it holds posix.system"),
    ],
)
def test_a_list_of_rows_that_lies_is_refused(
    tmp_path: Path, change: Callable[[Metadata], None], fault: str
) -> None:
    write(tmp_path, 2)
    metadata = pickle.loads((tmp_path / METADATA).read_bytes())
    change(metadata)
    (tmp_path / METADATA).write_bytes(pickle.dumps(metadata))
    with pytest.raises(ValueError) as error:
        read_shards(tmp_path, files(tmp_path), blank())
    message = f"{tmp_path / METADATA} is damaged ({fault}); use an earlier checkpoint"
    assert str(error.value) == message


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04."])
def test_a_list_of_rows_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, 1)
    (tmp_path / METADATA).write_bytes(content)
    with pytest.raises(ValueError, match=r"\.metadata is damaged \(.*\); use an earlier checkpoint$"):
        read_shards(tmp_path, files(tmp_path), blank())


def test_rows_that_were_cut_off_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 2)
    file = tmp_path / FOLDER / "__1_0.distcp"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"is damaged \(.*\); use an earlier checkpoint$"):
        read_shards(tmp_path, files(tmp_path), blank())


def test_no_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1)

    def load(*words: Any, **named: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(MemoryError):
        read_shards(tmp_path, files(tmp_path), blank())
