"""What a repository on the hub holds: weights, settings and tokenizers of a checkpoint, nothing of its machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch

from sunfish.checkpoint.folder import load_trainer
from sunfish.checkpoint.links import CONFIG, STATE, read_settled
from sunfish.checkpoint.metadata import (
    CARD,
    PROMPT_TOKENIZER,
    SAMPLING,
    TOKENIZER,
    WEIGHTS,
    metadata_of,
    verify,
)
from sunfish.disk.json_file import MAX_BYTES, seal
from sunfish.sharing.trainer_state import read_trainer, write_trainer
from sunfish.tokenizers.base import MAX_BYTES as MAX_TOKENIZER_BYTES
from sunfish.utils import file_sha256

TRAINER = "trainer.safetensors"  # only where others are to resume the run
REQUIRED = (CONFIG, TOKENIZER, WEIGHTS)
# The weights come last: a cache that has them has all of a model.
FILES = (CONFIG, TOKENIZER, PROMPT_TOKENIZER, SAMPLING, CARD, TRAINER, WEIGHTS)
LARGEST = {  # bytes of a file; the weights are bounded by the disk
    CONFIG: MAX_BYTES,
    SAMPLING: MAX_BYTES,
    CARD: MAX_BYTES,
    TOKENIZER: MAX_TOKENIZER_BYTES,
    PROMPT_TOKENIZER: MAX_TOKENIZER_BYTES,
}
PRETRAINED = "hf:"  # before the name, or the folder, of a prompt encoder
# Settings that may be paths on the machine of the run.
PATHS = (
    ("corpus", "data"),
    ("corpus", "data_folder"),
    ("corpus", "tokenizer"),
    ("model", "prompt_encoder"),
    ("training", "checkpoints"),
    ("training", "teacher"),
)


def copy_model(checkpoint: Path, folder: Path, resumable: bool = False) -> None:
    """Copy a checkpoint into ``folder``, which exists, as others get it: a checkpoint too, but without a model card.

    The trainer's state is a pickle, which nobody should load from a stranger: it stays behind, or is written as
    safetensors. Full paths lose their folders, which would name the user of the machine.

    Args:
        checkpoint: The checkpoint, or a link to it.
        folder: Where the files go.
        resumable: Whether others can resume the run.

    Raises:
        ValueError: The path is no checkpoint, or it is damaged.
    """

    def copy(source: Path) -> None:
        metadata = metadata_of(source)
        names = hashed_files(metadata)
        for name in (*names, SAMPLING):
            if name in names or (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        verify(folder, metadata, names)
        if resumable:
            state = load_trainer(source)
            state["corpus"]["path"] = without_folders(state["corpus"]["path"])
            write_trainer(state, folder / TRAINER)
        _remove_folders(metadata["config"])
        _write_config(folder, metadata)

    read_settled(checkpoint, copy)


def restore_trainer(folder: Path) -> None:
    """Turn the trainer's state in a repository's files back into the one that ``--resume`` reads, if there is one.

    Raises:
        ValueError: It is damaged.
    """
    if not (folder / TRAINER).is_file():
        return
    metadata = metadata_of(folder)
    (folder / STATE).parent.mkdir()
    with (folder / STATE).open("wb") as file:
        torch.save(read_trainer(folder / TRAINER), file)
    (folder / TRAINER).unlink()
    metadata["files"][STATE] = file_sha256(folder / STATE)
    _write_config(folder, metadata)
    load_trainer(folder)  # its own checks


def hashed_files(metadata: dict[str, Any]) -> tuple[str, ...]:
    """The files whose hashes inference compares."""
    separate = (PROMPT_TOKENIZER,) if PROMPT_TOKENIZER in metadata["files"] else ()
    return (WEIGHTS, TOKENIZER, *separate)


def without_folders(path: str) -> str:
    """The last part of a full path, or of one that leaves its folder; any other text as it is.

    A name without a suffix stays a path: a folder called stories is not the corpus of that name.
    """
    if path.startswith(PRETRAINED):
        return PRETRAINED + without_folders(path.removeprefix(PRETRAINED))
    for kind in (PurePosixPath, PureWindowsPath):
        pure = kind(path)
        if pure.is_absolute() or ".." in pure.parts or path.startswith("~"):
            return pure.name if "." in pure.name else f"./{pure.name}"
    return path


def _write_config(folder: Path, metadata: dict[str, Any]) -> None:
    (folder / CONFIG).write_text(json.dumps(seal(metadata), indent=2) + "\n", encoding="utf-8")


def _remove_folders(config: dict[str, dict[str, Any]]) -> None:
    for group, name in PATHS:
        if isinstance(value := config.get(group, {}).get(name), str):
            config[group][name] = without_folders(value)
