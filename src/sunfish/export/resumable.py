"""Owns the copy of a checkpoint whose trainer's state is one file, whatever number of processes wrote it."""

from __future__ import annotations

import shutil
from pathlib import Path

from sunfish.checkpoint.folder import load_checkpoint, load_trainer, save_checkpoint
from sunfish.checkpoint.metadata import CARD, SAMPLING
from sunfish.disk.writing import writing
from sunfish.export.write import check_new


def export_resumable(path: Path, folder: Path) -> Path:
    """Write the checkpoint ``path`` to a new ``folder``, as a run in one process would have.

    Args:
        path: A checkpoint, as :func:`sunfish.checkpoint.folder.load_checkpoint` takes it.
        folder: There is none, or it is empty.

    Returns:
        The folder.

    Raises:
        UsageError: The folder holds something.
        ValueError: The checkpoint is damaged, or cannot be resumed.
        WriteError: A file could not be written.
    """
    check_new(folder)
    config, model, _, tokenizer, prompt_tokenizer, _, source = load_checkpoint(path)
    separate = None if prompt_tokenizer is tokenizer else prompt_tokenizer
    card = (source / CARD).read_text(encoding="utf-8")
    save_checkpoint(folder, config, model, tokenizer, separate, load_trainer(source), card)
    if (source / SAMPLING).is_file():
        with writing(folder / SAMPLING):
            shutil.copyfile(source / SAMPLING, folder / SAMPLING)
    return folder
