"""``--prompt-file``: one prompt a line, in any marked encoding, letter by letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.commands.sampling_flags import read_prompts

PROMPTS = ["Write about a fox", "Écris sur un renard", "写一只狐狸", "two\u2028halves", "in\ufeffside"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\n \n\ufeff"])
def test_prompts_come_back_letter_by_letter(tmp_path: Path, encoding: str, line_end: str) -> None:
    (tmp_path / "blob").write_bytes(line_end.join([*PROMPTS, ""]).encode(encoding))
    (tmp_path / "prompts.txt").symlink_to("blob")
    assert read_prompts(tmp_path / "prompts.txt") == PROMPTS


@pytest.mark.parametrize("content", [b"one\ntwo \xff", "Write about a fox".encode("utf-16-le"), b"\n \n"])
def test_a_file_without_readable_prompts_is_one_line(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    assert main(["sample", "--prompt-file", str(tmp_path / "prompts.txt")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "prompts.txt" in line


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_text_with_gaps_is_read_by_its_mark(
    tmp_path: Path, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gaps.txt").write_bytes("The fox sat.".encode(encoding))
    assert main(["infill", "--file", str(tmp_path / "gaps.txt")]) != 0
    assert "gap" in capsys.readouterr().err  # read, and found to have none
