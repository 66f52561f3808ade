"""``sunfish doctor``: what makes it fail, the limits of memory and disk, and how a check is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.commands import doctor
from sunfish.commands.doctor import Check
from sunfish.utils import GIB
from tests.tiny_checkpoint import write_checkpoint


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


def test_a_folder_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = doctor.writable(tmp_path / "file" / "below")
    assert check.state == "problem" and check.found == f"{tmp_path / 'file'} is a file"


@pytest.mark.parametrize("free, state", [(GIB - 1, "problem"), (GIB, "ok")])
def test_memory_numbers_and_arithmetic(monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    rates = iter([111.4, 222.4])
    monkeypatch.setattr("sunfish.hardware.resources.available_memory", lambda *_: free)
    monkeypatch.setattr("sunfish.hardware.device.matmul_rate", lambda dtype, *_: next(rates))
    monkeypatch.setattr("sunfish.hardware.device.bfloat16_speed_up", lambda: 2.0)
    monkeypatch.setattr("sunfish.hardware.cpu.cores", lambda: 3)
    monkeypatch.setattr("sunfish.hardware.cpu.hardware_threads", lambda: 6)
    monkeypatch.setattr("sunfish.hardware.resources.processor", lambda: "Some CPU")
    checks = {check.name: check for check in doctor.machine()}
    assert checks["memory"].state == state and bool(checks["memory"].remedy) == (state == "problem")
    assert checks["processor"].found == "Some CPU, 3 cores for this process (6 hardware threads)"
    assert checks["arithmetic"].found == "float32 111, bfloat16 222 GFLOP/s: runs will use bfloat16"


def test_the_last_checkpoint_is_named_with_its_step(tmp_path: Path) -> None:
    assert doctor.checkpoint(tmp_path).found == f"none at {tmp_path / 'last.ckpt'} yet"
    write_checkpoint(tmp_path / "last.ckpt", steps=2)
    assert doctor.checkpoint(tmp_path) == Check("checkpoint", "ok", f"{tmp_path / 'last.ckpt'}: nano, step 2")
    (tmp_path / "last.ckpt" / "config.json").write_text("{")
    assert doctor.checkpoint(tmp_path).state == "note"
