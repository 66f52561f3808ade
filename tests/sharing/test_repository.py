"""What a repository holds of a checkpoint."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.checkpoint.metadata import read_metadata
from sunfish.sharing.repository import PATHS, copy_model, without_folders
from tests.tiny_checkpoint import CONFIG, edit_metadata, write_checkpoint


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("stories", "stories"),
        ("tales.txt", "tales.txt"),
        ("corpora/tales.txt", "corpora/tales.txt"),
        ("org/bert-tiny", "org/bert-tiny"),
        ("hf:org/bert-tiny", "hf:org/bert-tiny"),
        ("hf:/home/ann/bert", "hf:./bert"),
        ("", ""),
        ("/home/ann/tales.txt", "tales.txt"),
        ("~/tales.txt", "tales.txt"),
        ("~ann/tales.txt", "tales.txt"),
        ("../ann/tales.txt", "tales.txt"),
        ("runs/../../ann/x", "./x"),
        ("/home/ann/stories", "./stories"),
        ("/home/ann/bpe", "./bpe"),
        (r"C:\Users\ann\tales.txt", "tales.txt"),
        (r"..\ann\tales.txt", "tales.txt"),
    ],
)
def test_a_path_says_nothing_of_its_machine(path: str, kept: str) -> None:
    assert without_folders(path) == kept


def test_every_setting_that_may_be_a_path_is_known() -> None:
    named = re.compile(r"^    (\w+): str = .*\n    \"\"\".*(?:path|Folder|Checkpoint whose|hf:NAME)", re.M)
    said = {
        (group, name)
        for group in ("corpus", "model", "process", "training")
        for name in named.findall(inspect.getsource(type(getattr(CONFIG, group))))
    }
    assert said == set(PATHS)


def test_the_copy_is_a_checkpoint_with_the_same_weights(checkpoint: Path, tmp_path: Path) -> None:
    copy_model(checkpoint, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    old, new = load_checkpoint(checkpoint), load_checkpoint(tmp_path)
    assert (new.config, new.step) == (old.config, old.step)
    for name, value in old.model.state_dict().items():
        assert bool((new.model.state_dict()[name] == value).all())


def test_a_damaged_checkpoint_is_not_copied(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c")
    (tmp_path / "copy").mkdir()
    (checkpoint / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json is missing or damaged \(its hash differs\)"):
        copy_model(checkpoint, tmp_path / "copy")
    assert not (tmp_path / "copy" / "config.json").exists()
    with pytest.raises(ValueError, match="there is no checkpoint"):
        copy_model(tmp_path / "none", tmp_path / "copy")


def test_what_is_copied_can_be_read_and_not_changed(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c")
    edit_metadata(checkpoint, lambda metadata: metadata["config"]["corpus"].update(data="/home/ann/t.txt"))
    (tmp_path / "copy").mkdir()
    copy_model(checkpoint, tmp_path / "copy")
    assert read_metadata(tmp_path / "copy")["config"]["corpus"]["data"] == "t.txt"
    content = json.loads((tmp_path / "copy" / "config.json").read_text())
    content["step"] += 1
    (tmp_path / "copy" / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="was changed after it was written"):
        read_metadata(tmp_path / "copy")
