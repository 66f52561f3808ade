"""``sunfish bench sample``: a checkpoint keeps the settings that it finds and uses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sunfish.cli import main
from sunfish.config import GenerationConfig
from sunfish.sampling.autotune import CANDIDATES, candidates
from sunfish.sampling.generation_config import read_generation_config, write_generation_config
from sunfish.sampling.pipeline import Pipeline
from tests.conftest import Workplace
from tests.tiny_checkpoint import edit_metadata


@pytest.mark.slow
def test_a_checkpoint_keeps_its_settings_and_uses_them(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(trained.checkpoint, checkpoint)
    assert read_generation_config(checkpoint) == GenerationConfig()
    assert main(["sample", str(checkpoint), "--fast", "--seq_len", "8"]) == 1
    assert "sunfish bench" in capsys.readouterr().err
    assert main(["bench", "sample", str(checkpoint), "--texts", "2", "--scales", "2", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert len(output["points"]) == len(CANDIDATES) and set(output["recommended"]) <= {"best", "fast"}
    best = read_generation_config(checkpoint)
    assert best.guidance_scale == 2 and best in candidates([2.0])
    assert Pipeline.from_checkpoint(checkpoint).generation_config == best
    write_generation_config(
        checkpoint, {"best": GenerationConfig(sampler="leftmost", num_steps=3, guidance_scale=1.5)}
    )
    assert main(["sample", str(checkpoint), "--fast", "--seq_len", "8"]) == 1
    output = capsys.readouterr().err
    assert "found no setting 'fast'" in output and "damaged" not in output
    words = ["sample", str(checkpoint), "--prompt", "Write about dogs", "--seq_len", "12", "--json"]
    assert main(words) == 0
    kept = json.loads(capsys.readouterr().out)
    assert main([*words, "--sampler", "leftmost", "--num_steps", "3", "--guidance_scale", "1.5"]) == 0
    assert json.loads(capsys.readouterr().out) == kept
    # What only the other kind of sampler has does not stand in the way of the one that is asked for.
    write_generation_config(checkpoint, {"best": GenerationConfig(lenience=0.5, guidance_scale=1.5)})
    assert main([*words, "--num_steps", "3"]) == 0
    assert json.loads(capsys.readouterr().out) == kept
    one = Pipeline.from_checkpoint(checkpoint)("Write about dogs", steps=3, seq_len=12)
    write_generation_config(checkpoint, {"best": GenerationConfig(sampler="leftmost", guidance_scale=1.5)})
    assert main([*words, "--sampler", "verified"]) == 0
    assert json.loads(capsys.readouterr().out) != kept and one == kept[0]["text"]
    (checkpoint / "generation_config.json").write_text('{"best": {"guidance_scale": 1, "sampler": "best"}}')
    assert main(words) == 1
    assert "damaged" in capsys.readouterr().err


def test_other_models_need_prompts(
    trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(trained.checkpoint, checkpoint)
    edit_metadata(checkpoint, lambda metadata: metadata["config"]["corpus"].update(data="mine.txt"))
    assert main(["bench", "sample", str(checkpoint)]) == 2
    assert "--prompt-file" in capsys.readouterr().err
