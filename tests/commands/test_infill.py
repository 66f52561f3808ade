"""``sunfish infill``: a text or a file of it."""

from __future__ import annotations

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
