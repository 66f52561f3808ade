"""What a repository on the hub holds: weights, settings and tokenizers of a checkpoint, nothing of its machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from sunfish.checkpoint.links import CONFIG, read_settled
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
from sunfish.tokenizers.base import MAX_BYTES as MAX_TOKENIZER_BYTES

REQUIRED = (CONFIG, TOKENIZER, WEIGHTS)
# The weights come last: a cache that has them has all of a model.
FILES = (CONFIG, TOKENIZER, PROMPT_TOKENIZER, SAMPLING, CARD, WEIGHTS)
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


def copy_model(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint into ``folder``, which exists, as others get it: a checkpoint too, but without a model card.

    The trainer's state stays behind: it is a pickle, which nobody should load from a stranger. Full paths among the
    settings lose their folders, which would name the user of the machine.

    Args:
        checkpoint: The checkpoint, or a link to it.
        folder: Where the files go.

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
        _remove_folders(metadata["config"])
        text = json.dumps(seal(metadata), indent=2) + "\n"
        (folder / CONFIG).write_text(text, encoding="utf-8")

    read_settled(checkpoint, copy)


def hashed_files(metadata: dict[str, Any]) -> tuple[str, ...]:
    """The files whose hashes inference compares."""
    separate = (PROMPT_TOKENIZER,) if PROMPT_TOKENIZER in metadata["files"] else ()
    return (WEIGHTS, TOKENIZER, *separate)


def without_folders(path: str) -> str:
    """The last part of a full path, or of one that leaves its folder; any other text as it is."""
    if path.startswith(PRETRAINED):
        return PRETRAINED + without_folders(path.removeprefix(PRETRAINED))
    for kind in (PurePosixPath, PureWindowsPath):
        pure = kind(path)
        if pure.is_absolute() or ".." in pure.parts or path.startswith("~"):
            return pure.name
    return path


def _remove_folders(config: dict[str, dict[str, Any]]) -> None:
    for group, name in PATHS:
        if isinstance(value := config.get(group, {}).get(name), str):
            config[group][name] = without_folders(value)
