"""``sunfish train --resume`` of moved and copied runs: they resume where they lie, unless flags say otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sunfish.cli import main
from tests.conftest import TINY, Workplace


@pytest.fixture(params=["links kept", "links followed", "links dropped"])
def copied(request: pytest.FixtureRequest, trained: Workplace, tmp_path: Path) -> Path:
    """The folder of a run, copied to another place under another name."""
    run = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(
        trained.folder / "checkpoints" / "trained", run, symlinks=request.param != "links followed"
    )
    if request.param == "links dropped":
        for link in run.glob("*.ckpt"):
            link.unlink()
    return run


def place(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """Where a run would be written, and what is said of it."""
    assert main(["train", *words, "--print-config"]) == 0
    captured = capsys.readouterr()
    training = json.loads(captured.out)["training"]
    return Path(training["checkpoints"]) / training["name"], captured.err


@pytest.mark.parametrize("name", ["", "last.ckpt", "step-0000003"])
def test_a_copied_run_resumes_in_its_copy(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    resume = ["--resume", str(copied / name)]
    folder, said = place(resume, capsys)
    assert folder == copied.resolve() and f"now lies in {folder}; it resumes there" in said
    folder, _ = place([*resume, "--checkpoints", str(tmp_path / "mine"), "--name", "other"], capsys)
    assert folder == tmp_path / "mine" / "other"


def test_a_run_that_lies_where_it_was_says_nothing(
    trained: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, said = place(["--resume", str(trained.checkpoint)], capsys)
    assert folder == trained.folder / "checkpoints" / "trained" and "now lies" not in said


def test_auto_finds_the_run_of_its_name_without_links(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, "--resume", "auto", "--checkpoints", str(copied.parent), "--name", copied.name]
    folder, said = place(words, capsys)
    assert folder == copied.resolve() and f"resuming {copied}" in said
