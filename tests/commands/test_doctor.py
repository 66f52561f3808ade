"""``sunfish doctor``: what makes it fail, the limits of memory and disk, and how a check is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sunfish.checkpoint.metadata import read_metadata
from sunfish.cli import main
from sunfish.commands import doctor
from sunfish.commands.doctor import Check
from sunfish.utils import GIB
from tests.tiny_checkpoint import edit_metadata, write_checkpoint


@pytest.mark.parametrize("state, code", [("ok", 0), ("note", 0), ("problem", 1)])
def test_a_problem_alone_fails_and_a_remedy_has_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str, code: int
) -> None:
    folders = []

    def examine(*given: Path) -> Iterator[Check]:
        folders.append(given)
        yield Check("first", state, "something", "do this")
        yield Check("second", "ok", "all well")

    monkeypatch.setattr(doctor, "examine", examine)
    assert main(["doctor", "--checkpoints", "a", "--data-folder", "b"]) == code
    lines = [f"{state:<8} first: something", f"{'':<9}-> do this", "ok       second: all well"]
    assert capsys.readouterr().out.splitlines() == lines
    assert main(["doctor", "--checkpoints", "a", "--data-folder", "b", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == [
        {"name": "first", "state": state, "found": "something", "remedy": "do this"},
        {"name": "second", "state": "ok", "found": "all well", "remedy": ""},
    ]
    assert folders == [(Path("a"), Path("b"))] * 2


@pytest.mark.parametrize("free, state, shown", [(GIB - 2**20, "note", "1,023 MiB"), (GIB, "ok", "1.0 GiB")])
def test_a_disk_of_less_than_a_gigabyte_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str, shown: str
) -> None:
    monkeypatch.setattr("sunfish.hardware.resources.free_disk", lambda folder: free)
    check = doctor.writable(tmp_path / "not" / "yet")
    assert (check.state, check.found) == (state, f"writable, {shown} free")
    assert check.name == f"folder {tmp_path / 'not' / 'yet'}" and bool(check.remedy) == (state == "note")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error, words", [(PermissionError(13, "Permission denied"), "Permission denied"), (OSError("odd"), "odd")]
)
def test_a_folder_where_no_file_can_be_made_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    asked = []

    def refuse(*, dir: Path) -> None:
        asked.append(dir)
        raise error

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    remedy = f"chmod u+w {tmp_path}, or choose another: --checkpoints, --data_folder"
    folder = tmp_path / "new"
    expected = Check(f"folder {folder}", "problem", f"cannot be written: {words}", remedy)
    assert doctor.writable(folder) == expected and asked == [tmp_path]


def test_a_folder_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder, remedy = tmp_path / "file" / "below", "give a folder: --checkpoints, --data_folder"
    expected = Check(f"folder {folder}", "problem", f"{tmp_path / 'file'} is a file", remedy)
    assert doctor.writable(folder) == expected


@pytest.mark.parametrize("free, state", [(GIB - 1, "problem"), (GIB, "ok")])
@pytest.mark.parametrize("threads, twins", [(6, " (6 hardware threads)"), (3, "")])
@pytest.mark.parametrize("gpu", [False, True])
def test_each_line_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, free: float, state: str, threads: int, twins: str, gpu: bool
) -> None:
    threads_set: list[int] = []
    room = {"None": free, "cuda": 5 * GIB}
    monkeypatch.setattr("sunfish.hardware.resources.available_memory", lambda device=None: room[str(device)])
    monkeypatch.setattr("sunfish.hardware.device.set_threads", threads_set.append)
    monkeypatch.setattr(
        "sunfish.hardware.device.matmul_rate",
        lambda dtype: 1111.2 * (threads_set == [0]) * (dtype == torch.float32),
    )
    monkeypatch.setattr("sunfish.hardware.device.bfloat16_speed_up", lambda: 2.0)
    monkeypatch.setattr("sunfish.hardware.cpu.cores", lambda: 3)
    monkeypatch.setattr("sunfish.hardware.cpu.hardware_threads", lambda: threads)
    monkeypatch.setattr("sunfish.hardware.resources.processor", lambda: "Some CPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    low = state == "problem"
    assert list(doctor.machine()) == [
        Check("PyTorch", "ok", torch.__version__),
        Check("processor", "ok", f"Some CPU, 3 cores for this process{twins}"),
        Check(
            "memory",
            state,
            f"{'1,024 MiB' if low else '1.0 GiB'} available",
            "close other programs: even nano needs 1 GiB" if low else "",
        ),
        Check("GPU", "ok", "Some GPU, 5.0 GiB free" if gpu else "none: runs use the processor"),
        Check("arithmetic", "ok", "float32 1,111, bfloat16 2,222 GFLOP/s: runs will use bfloat16"),
    ]


@pytest.mark.parametrize(
    "version, state, remedy",
    [((3, 11, 0), "ok", ""), ((3, 12, 4), "ok", ""), ((3, 10, 9), "problem", "install Python 3.11 or newer")],
)
@pytest.mark.parametrize("missing", [(), ("rich",), ("torch", "rich"), ("wandb", "sklearn", "pyarrow")])
def test_python_the_packages_and_the_extras(
    version: tuple[int, ...],
    state: str,
    remedy: str,
    missing: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, "final", 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else "found")
    monkeypatch.setattr(doctor, "machine", lambda: iter([Check("machine", "ok", "")]))
    python, packages, *others = doctor.examine(tmp_path / "runs", tmp_path / "corpora")
    assert python == Check("Python", state, ".".join(map(str, version)), remedy)
    core = [name for name in ("torch", "rich") if name in missing]
    if core:
        install = "pip install -e . (or ./start_training.sh)"
        assert packages == Check("packages", "problem", f"missing: {', '.join(core)}", install)
    else:
        assert packages == Check("packages", "ok", "all 5 present")
    if "torch" in missing:
        assert others == []
        return
    lacking = {"log": "wandb", "eval": "sklearn", "parquet": "pyarrow"} if "wandb" in missing else {}
    purposes = {
        "hf": "data sets and prompt encoders of Hugging Face",
        "log": "TensorBoard, wandb and trackio",
        "eval": "plots and classifiers of the benchmarks",
        "parquet": ".parquet files",
        "serve": "the HTTP server",
        "hub": "sharing models",
        "onnx": "sunfish export",
    }
    assert others[0].name == "machine"
    for extra, check in zip(purposes, others[1 : 1 + len(purposes)], strict=True):
        name, what = f"extra {extra}", purposes[extra]
        assert check == (
            Check(
                name,
                "note",
                f"{what}: without {lacking[extra]}",
                f"if you want it: ./run.sh -m pip install -e '.[{extra}]'",
            )
            if extra in lacking
            else Check(name, "ok", f"{what}: present")
        )
    assert [check.name for check in others[1 + len(purposes) :]] == [
        *(f"folder {tmp_path / 'runs'}", f"folder {tmp_path / 'corpora'}", "checkpoint")
    ]
    assert others[-1].found == f"none at {tmp_path / 'runs' / 'last.ckpt'} yet"


def test_every_extra_that_is_missing_names_all_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "found" if name in doctor.CORE else None)
    monkeypatch.setattr(doctor, "machine", lambda: iter(()))
    checks = [c for c in doctor.examine(tmp_path, tmp_path) if c.name.startswith("extra ")]
    for check, (_, modules) in zip(checks, doctor.EXTRAS.values(), strict=True):
        assert check.state == "note" and check.found.endswith(f": without {', '.join(modules)}")


def test_the_last_checkpoint_is_named_with_its_step(tmp_path: Path) -> None:
    last, train = tmp_path / "last.ckpt", "train one: ./start_training.sh (or: sunfish train)"
    assert doctor.checkpoint(tmp_path) == Check("checkpoint", "note", f"none at {last} yet", train)
    write_checkpoint(last, steps=0)
    edit_metadata(last, lambda metadata: metadata.update(step=12345))
    assert doctor.checkpoint(tmp_path) == Check("checkpoint", "ok", f"{last}: nano, step 12,345")
    (last / "config.json").write_text("{")
    damaged = doctor.checkpoint(tmp_path)
    assert (damaged.name, damaged.state, damaged.remedy) == ("checkpoint", "note", "")
    with pytest.raises(ValueError) as why:
        read_metadata(last)
    assert damaged.found == str(why.value)
