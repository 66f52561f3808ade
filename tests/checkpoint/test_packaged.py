"""The model in the package: its name, what comes before it, its size, its card."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from sunfish.checkpoint.folder import load_checkpoint, read_metadata
from sunfish.checkpoint.links import resolve_checkpoint
from sunfish.checkpoint.metadata import FILES, verify
from sunfish.checkpoint.packaged import DEMO_FOLDER
from tests.conftest import ROOT

LARGEST = 4_000_000  # bytes of all of its files


def test_its_name_means_the_folder_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_checkpoint(Path("demo"))
    assert loaded.path == DEMO_FOLDER == ROOT / "src" / "sunfish" / "demo"
    assert loaded.config.training.name == "demo"
    for path in (tmp_path / "demo", Path("other")):
        with pytest.raises(ValueError, match=r"there is no checkpoint at .*; or name demo"):
            load_checkpoint(path)


def test_a_folder_of_that_name_comes_first(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint.rename(checkpoint.parent / "demo")
    monkeypatch.chdir(folder.parent)
    assert resolve_checkpoint(Path("demo")).absolute() == folder
    assert read_metadata(Path("demo"))["config"]["training"]["name"] == "nano"


@pytest.mark.parametrize("kind", ["file", "empty folder", "broken link"])
def test_whatever_has_that_name_is_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "file":
        Path("demo").write_text("notes")
    elif kind == "empty folder":
        Path("demo").mkdir()
    else:
        Path("demo").symlink_to("nowhere")
    with pytest.raises(
        ValueError, match=r"^demo (is a file|is a folder that holds nothing|points to .*nowhere)"
    ):
        load_checkpoint(Path("demo"))


def test_it_is_small_and_holds_no_path_of_the_machine_that_made_it() -> None:
    files = [path for path in DEMO_FOLDER.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert sum(path.stat().st_size for path in files) <= LARGEST
    config = json.loads((DEMO_FOLDER / "config.json").read_text())["config"]
    assert config["training"]["checkpoints"] == "checkpoints" and config["corpus"]["data_folder"] == "data"


def test_its_files_are_those_it_was_saved_with() -> None:
    metadata = read_metadata(DEMO_FOLDER)
    names = tuple(name for name in FILES if name in metadata["files"])
    assert len(names) == 3
    verify(DEMO_FOLDER, metadata, names)


def test_it_is_part_of_a_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["sunfish"]
    packed = {path for pattern in patterns for path in (ROOT / "src" / "sunfish").glob(pattern)}
    assert set(DEMO_FOLDER.iterdir()) <= packed


def test_its_card_says_how_it_was_made_and_how_good_it_is() -> None:
    card = (DEMO_FOLDER / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^\./run\.sh (benchmarks/\S+\.py)$", card, re.M)
    assert (ROOT / script).is_file()
    assert f"trained for {read_metadata(DEMO_FOLDER)['step']:,} steps" in card
    rows = re.findall(r"^\| (\d) \| ([\d.]+)% \| ([\d.]+)% \| ([\d.]+)% \|$", card, re.M)
    assert [row[0] for row in rows] == ["1", "3", "7"]
    for _, grammar, constraints, chance in rows:
        assert float(grammar) > 95 and float(constraints) > 90 > 20 > float(chance)
