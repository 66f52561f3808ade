"""``sunfish infill``: a text or a file of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sunfish.cli import main
from tests.conftest import Workplace


def test_a_text_file_is_infilled_by_its_name(
    trained: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").symlink_to(trained.checkpoint.parent)
    (tmp_path / "tale.txt").write_text("The fox [MASK:2] away.\n")
    monkeypatch.chdir(tmp_path)
    assert main(["infill", "tale.txt", "--cpu"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("The fox ") and out.endswith(" away.\n") and "[MASK" not in out


@pytest.mark.parametrize(("particles", "code"), [(1, 0), (0, 2), (10**9, 2)])
def test_how_many_fills_are_compared(
    trained: Workplace, capsys: pytest.CaptureFixture[str], particles: int, code: int
) -> None:
    words = ["infill", str(trained.checkpoint), "--text", "a [MASK:2]", "--print-config"]
    assert main([*words, "--particles", str(particles)]) == code
    assert code == 0 or f"particles is {particles}" in capsys.readouterr().err.replace(",", "")


def test_a_stream_that_is_no_text_is_named(
    trained: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tale.txt"
    path.write_bytes(b"a [MASK:2] \xff\xfe\xff b")
    words = ["infill", str(trained.checkpoint), "--print-config", "--file"]
    assert main([*words, str(path)]) != 0
    of_file = capsys.readouterr().err
    with path.open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert main([*words, "-"]) != 0
    of_stream = capsys.readouterr().err
    assert str(path) in of_file and of_stream == of_file.replace(str(path), "stdin")
