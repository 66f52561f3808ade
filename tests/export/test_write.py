"""The folder of an export: what it holds, and which checkpoints it refuses."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import onnx
import pytest
import torch

from sunfish.checkpoint.folder import save_checkpoint
from sunfish.cli import main
from sunfish.config import Config, GenerationConfig
from sunfish.export.standalone import Model
from sunfish.export.tracing import example_inputs
from sunfish.export.write import export_onnx, sampling_settings
from sunfish.sampling.generation_config import write_generation_config
from sunfish.sampling.pipeline import Pipeline
from tests.helpers import model
from tests.tiny_checkpoint import CONFIG, story_tokenizer, trainer_state


def saved(folder: Path, config: Config, *, guidance_conditioned: bool = False) -> Path:
    """A checkpoint of this configuration with random weights."""
    network = model(torch.float32, config.model, config.process.process, guidance_conditioned)
    return save_checkpoint(folder, config, network, story_tokenizer(), None, trainer_state(1), "# A model\n")


def test_what_the_folder_holds(exported: Path, checkpoint: Path) -> None:
    assert {file.name for file in exported.iterdir()} == {
        *("encode.onnx", "draft.onnx", "verify.onnx", "weights.bin"),
        *("tokenizer.json", "settings.json", "sample.py"),
    }
    settings = json.loads((exported / "settings.json").read_text())
    assert (settings["cache"], settings["context_length"], settings["prompt_length"]) == ([3, 2, 16], 96, 64)
    for name in ("encode", "draft", "verify"):
        onnx.checker.check_model(exported / f"{name}.onnx")


def test_weights_are_stored_once(exported: Path, checkpoint: Path) -> None:
    """The graphs together take as much as the checkpoint and one more copy of the output table."""
    network = Pipeline.from_checkpoint(checkpoint).model
    table = network.token_embedding.nbytes
    weights = sum(value.nbytes for value in network.state_dict().values())
    assert weights <= (exported / "weights.bin").stat().st_size <= weights + table + 20_000


def test_example_inputs_have_no_two_sizes_alike() -> None:
    """A dimension that is taken for a constant would otherwise hide behind another one."""
    examples = example_inputs(CONFIG.model, 300)
    varying = {
        examples[name][0].shape[axis]
        for name, axis in (("cache", 2), ("cache", 4), ("kept", 0), ("ids", 0), ("mask", 1))
    }
    assert len(varying) == 5 and min(varying) > 1


@pytest.mark.slow
def test_a_model_without_prompts(tmp_path: Path) -> None:
    path = saved(tmp_path / "step-0000001", CONFIG.with_fields(prompt_length=0))
    sampler = Model(export_onnx(path, tmp_path / "exported"), threads=1)
    config = GenerationConfig(guidance_scale=0.0)
    expected = Pipeline.from_checkpoint(path).generate([""], config, seed=2, seq_len=40)[0].text
    assert expected and sampler.write(seed=2, seq_len=40) == expected
    with pytest.raises(ValueError, match="room for 0"):
        sampler.write("Write about dogs")


def test_settings_that_bench_found_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the sampler of an export does not have the one that suits the checkpoint, it says so."""
    for sampler, kept in (("verified", True), ("verified:1", False), ("leftmost", False)):
        write_generation_config(tmp_path, {"best": GenerationConfig(sampler=sampler, block_length=4)})
        settings = sampling_settings(tmp_path)
        assert settings["sampler"] == "verified"
        assert settings["block_length"] == (4 if kept else GenerationConfig.block_length)
        assert (f"suits the sampler {sampler}, but an export has" in capsys.readouterr().err) != kept


def test_what_an_export_cannot_hold_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = saved(tmp_path / "mixed", CONFIG.with_fields(process="mixed"))
    assert main(["export", str(mixed), str(tmp_path / "out"), "--onnx"]) == 2
    assert "process is mixed, but an export is for the process masked" in capsys.readouterr().err
    teacher = CONFIG.with_fields(teacher=str(mixed))
    distilled = saved(tmp_path / "distilled", teacher, guidance_conditioned=True)
    assert main(["export", str(distilled), str(tmp_path / "out"), "--onnx"]) == 2
    assert "guides in one pass, but an export guides in two" in capsys.readouterr().err
    monkeypatch.setattr("sunfish.export.write.MAX_BYTES", 1000)
    plain = saved(tmp_path / "plain", CONFIG)
    assert main(["export", str(plain), str(tmp_path / "out"), "--onnx"]) == 2
    assert "an ONNX graph holds at most" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["export", str(checkpoint), str(tmp_path), "--onnx"]) == 2
    assert f"{tmp_path} exists and is not empty; give a folder that does not exist" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_missing_package_says_how_to_install_it(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else find(name, *rest)
    )
    assert main(["export", str(checkpoint), str(tmp_path / "out"), "--onnx"]) == 1
    error = capsys.readouterr().err
    assert error == "error: export needs onnxruntime; install it with: ./run.sh -m pip install -e '.[onnx]'\n"
