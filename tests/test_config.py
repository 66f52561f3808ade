"""The editable files in config/ are the presets, and an edit takes effect in train.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from config import FILES, get_config
from sunfish.config import Config, ModelConfig
from sunfish.config.presets import PRESETS, preset
from sunfish.model.transformer import Transformer
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
    assert "parameters" in text and "3 layers" in text and "width 768" in text


@pytest.mark.parametrize(
    ("n_embd", "mlp_ratio", "hidden"),
    [
        (120, 8 / 3, 320),
        (768, 8 / 3, 2048),
        (768, 2.5, 1920),
        (640, 3.4, 2176),
        (768, 2.51, 2048),
        (64, 0.1, 32),
    ],
)
def test_the_feed_forward_is_as_wide_as_its_ratio_says(n_embd: int, mlp_ratio: float, hidden: int) -> None:
    config = ModelConfig(n_embd=n_embd, n_head=4, mlp_ratio=mlp_ratio, n_layer=1, vocab_size=300)
    assert config.n_hidden == hidden
    layer = Transformer(config).layers[0].feed_forward
    assert layer.gate_up.weight.shape == (2 * hidden, n_embd) and layer.down.weight.shape == (n_embd, hidden)


def test_a_model_from_before_the_ratio_keeps_its_width() -> None:
    shape = Config.from_dict({"model": {"n_embd": 752, "n_head": 8}}).model
    assert shape.n_hidden == 2048  # what 8/3 gave, whatever micro has today


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("inf"), float("nan")])
def test_a_feed_forward_of_no_width_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"mlp_ratio is {ratio}, but it must be above 0"):
        ModelConfig(mlp_ratio=ratio)


def test_a_mistyped_field_in_a_config_file_is_named() -> None:
    from config import build

    with pytest.raises(ValueError, match="bach_size, which is no field"):
        build("tiny", {"bach_size": 3, "__name__": "config.tiny_config"}, show=False)
