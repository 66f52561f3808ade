"""From flags to the loaded model: device, number format and compilation arrive as they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sunfish.cli import main
from sunfish.config import GenerationConfig
from sunfish.sampling.generated import Generated
from sunfish.sampling.generation_config import write_generation_config
from sunfish.sampling.pipeline import Pipeline
from tests.tiny_checkpoint import write_checkpoint

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "words, device, precision, compiles",
    [
        (["--device", "cpu"], CPU, "float32", False),
        (["--cpu", "--device", "auto", "--precision", "int8"], CPU, "int8", False),
        (["--cpu", "--compile", "--precision", "bfloat16"], CPU, "bfloat16", True),
    ],
)
def test_the_checkpoint_is_loaded_as_the_flags_say(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    device: torch.device,
    precision: str,
    compiles: bool,
) -> None:
    checkpoint = write_checkpoint(tmp_path / "last.ckpt")
    loaded: list[tuple[Any, ...]] = []

    class Stopped(ValueError):
        """Ends the command where the model would be loaded."""

    def from_checkpoint(*where: Any, **options: Any) -> Pipeline:
        loaded.append((*where, options))
        raise Stopped

    monkeypatch.setattr(Pipeline, "from_checkpoint", from_checkpoint)
    assert main(["sample", str(checkpoint), *words]) == 1
    assert loaded == [(checkpoint, device, precision, {"compile": compiles})]


@pytest.mark.parametrize("flag, which", [([], "best"), (["--fast"], "fast")])
def test_fast_takes_the_faster_setting_of_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: list[str], which: str
) -> None:
    checkpoint = write_checkpoint(tmp_path / "last.ckpt")
    settings = {"best": GenerationConfig(block_length=4), "fast": GenerationConfig(block_length=16)}
    write_generation_config(checkpoint, settings)
    used: list[GenerationConfig] = []

    def generate(self: Pipeline, rows: list[str], config: GenerationConfig, **_: object) -> list[Generated]:
        used.append(config)
        return []

    monkeypatch.setattr(Pipeline, "generate", generate)
    assert main(["sample", str(checkpoint), "--cpu", "--prompt", "x", *flag]) == 0
    assert used == [settings[which]]
