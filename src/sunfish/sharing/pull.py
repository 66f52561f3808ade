"""Pull: a model of the hub as a checkpoint folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from sunfish.checkpoint.links import STATE
from sunfish.disk.writing import flush_tree, replace_folder, temporary_path, writing
from sunfish.sharing.download import fetch, forget
from sunfish.sharing.repository import FILES, TRAINER, restore_trainer


def pull(repository: str, folder: Path, revision: str | None = None) -> None:
    """Write a model of the hub as a checkpoint, whole or not at all.

    Args:
        repository: ``USER/NAME``.
        folder: Does not exist yet, or is empty.
        revision: See :func:`fetch`.

    Raises:
        ValueError: See :func:`fetch`; or there is something at ``folder``.
        WriteError: The folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already; delete it, or give another folder")
    snapshot = fetch(repository, revision=revision, names=FILES)
    temporary = temporary_path(folder)
    try:
        with writing(temporary):
            temporary.mkdir(parents=True)
        for name, file in snapshot.files.items():
            with writing(temporary / name):
                shutil.copyfile(file, temporary / name)
        try:
            with writing(temporary / STATE):
                restore_trainer(temporary)
        except ValueError as why:
            forget(snapshot.files[TRAINER])
            raise ValueError(f"{repository} cannot be used: {why}") from why
        flush_tree(temporary)
        replace_folder(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
