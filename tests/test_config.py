"""The editable files in config/ are the presets, and an edit takes effect in train.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from config import FILES, get_config
from sunfish.presets import PRESETS, preset
from tests.conftest import ROOT, python


@pytest.mark.parametrize("name", PRESETS)
def test_a_file_is_its_preset(name: str) -> None:
    assert get_config(name) == preset(name)


@pytest.mark.parametrize("name", ["nano", "full"])
def test_an_edit_takes_effect(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", tmp_path)
    file = tmp_path / "config" / f"{FILES.get(name, name + '_config')}.py"
    old = preset(name)
    text = file.read_text()
    for field, before, after in (
        ("batch_size", old.training.batch_size, 3),
        ("n_layer", old.model.n_layer, 5),
        ("n_embd", old.model.n_embd, 128),
    ):
        assert text.count(f"\n{field} = {before}") == 1
        text = text.replace(f"\n{field} = {before}", f"\n{field} = {after}")
    file.write_text(text)
    result = python("train.py", "--config", name, "--n_layer", "7", "--print-config", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    config = json.loads(result.stdout)
    assert config["training"]["batch_size"] == 3 and config["model"]["n_embd"] == 128
    assert config["model"]["n_layer"] == 7  # a flag is stronger than the file


def test_a_file_prints_the_size_and_the_shape(capsys: pytest.CaptureFixture[str]) -> None:
    from config.micro_config import get_micro_config

    assert get_micro_config() == preset("micro")
    text = capsys.readouterr().out
    assert "parameters" in text and "3 layers" in text and "width 752" in text


def test_a_mistyped_field_in_a_config_file_is_named() -> None:
    from config import build

    with pytest.raises(ValueError, match="bach_size, which is no field"):
        build("tiny", {"bach_size": 3, "__name__": "config.tiny_config"}, show=False)
