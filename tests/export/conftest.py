"""One export for all tests of a process: of a network in which every weight matters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sunfish.checkpoint.folder import Checkpoint, save_checkpoint
from sunfish.export.write import export_onnx
from tests.helpers import model
from tests.tiny_checkpoint import CONFIG, story_tokenizer, trainer_state


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two blocks and two heads, all of its weights drawn at random."""
    config = CONFIG.with_fields(n_layer=2, n_head=2, n_embd=32)
    network = model(torch.float32, config.model)
    with torch.no_grad():
        network.output_scale.mul_(0.3)  # else the first token has all the probability
        network.token_embedding[story_tokenizer().end].mul_(0.1)  # and texts end at once
    folder = tmp_path_factory.mktemp("export") / "step-0000001"
    return save_checkpoint(folder, config, network, story_tokenizer(), None, trainer_state(1), "# A model\n")


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> Path:
    """Its export in float32; not to be changed by a test."""
    return export_onnx(checkpoint, checkpoint.parent / "exported")


def copy_of(exported: Path) -> Callable[[Path, Checkpoint, bool], None]:
    """What can stand for ``write_model`` where the model is that of ``exported``, to save the time of another export."""

    def write_model(folder: Path, checkpoint: Checkpoint, int8: bool) -> None:
        shutil.copytree(exported, folder, dirs_exist_ok=True)

    return write_model
