"""The folder of a run: locked while it trains, cleared of what killed runs left, its links and what is kept."""

from __future__ import annotations

import errno
import math
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from sunfish.checkpoint.folder import prune_checkpoints
from sunfish.checkpoint.links import (
    BEST,
    LAST,
    STEP_NAME,
    linked_folders,
    newest_checkpoint,
    update_link,
)
from sunfish.disk.lock import exclusive_lock
from sunfish.disk.writing import WriteError, check_writable, remove_debris
from sunfish.hardware.resources import free_disk
from sunfish.utils import format_bytes

if sys.platform != "win32":
    import resource

LOCK = ".lock"


@contextmanager
def opened_run(run: Path) -> Iterator[None]:
    """Hold the folder of a run from before its data is prepared to its end.

    Raises:
        ValueError: Another process trains in it; names that one.
        WriteError: Something cannot be written, also later on; names the last good checkpoint.
    """

    def refuse(holder: str) -> NoReturn:
        raise ValueError(f"{run} is in use by {holder}. Wait for its end, or choose another --name")

    with _leaving_no_empty_folder(run):
        try:
            with ExitStack() as stack:
                for folder in (run.parent, run):
                    check_writable(folder)
                locked = stack.enter_context(exclusive_lock(run / LOCK, refuse))
                for pattern in (".*", "step-*"):  # the second as versions before this one named them
                    remove_debris(run, pattern, locked)
                remove_debris(run.parent, f".{LAST}.*", locked=False)  # all runs write it
                yield
        except WriteError as why:
            raise OSError(f"{why}. {_what_is_left(run)}") from why


def check_room(run: Path, weights: int, parts: int = 1) -> None:
    """Refuse a run whose first checkpoint cannot be written, before its first step.

    Args:
        run: its folder.
        weights: bytes of the network's weights. A checkpoint holds them at least four times: for inference, and
            in the trainer's state with their average and their momentum.
        parts: files that the trainer's state is divided among.

    Raises:
        WriteError: the disk has no room for it, or no file may be as large.
    """
    state, free, limit = 3 * weights, free_disk(run), math.inf
    if sys.platform != "win32" and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    needs = "a checkpoint of it needs at least"
    if weights + state > free:
        reason = f"{needs} {format_bytes(weights + state)}, but {format_bytes(free)} are free"
        raise WriteError(run, errno.ENOSPC, reason)
    if state / parts > limit:
        reason = (
            f"{needs} {format_bytes(state / parts)} in one file, but a file may have {format_bytes(limit)}"
        )
        raise WriteError(run, errno.EFBIG, reason)


def publish(checkpoint: Path, best: bool, every: int) -> None:
    """Let the links name a new checkpoint, then delete those that are not needed any more.

    ``best.ckpt`` comes first, so that it is right wherever a link names this checkpoint as the last one.

    Args:
        checkpoint: in the folder of its run, which lies in the folder of all runs.
        best: whether it is the best one so far.
        every: as :func:`prune_checkpoints` takes it.

    Raises:
        WriteError: a folder cannot be written.
    """
    run = checkpoint.parent
    links = [*([run / BEST] if best else []), run.parent / LAST, run / LAST]
    for link in links:
        update_link(link, checkpoint)
    prune_checkpoints(run, linked_folders(run), every)


def complete(checkpoint: Path, every: int) -> None:
    """Do what :func:`publish` has left undone where it failed, or was killed, after its first links.

    Args:
        checkpoint: the last one of a run that has nothing left to save.
        every: as :func:`prune_checkpoints` takes it.

    Raises:
        WriteError: a folder cannot be written.
    """
    if STEP_NAME.fullmatch(checkpoint.name):  # otherwise it is a copy of a link, and nothing else is there
        publish(checkpoint, best=False, every=every)


@contextmanager
def _leaving_no_empty_folder(run: Path) -> Iterator[None]:
    """Remove the folders again that a run which failed at its start has made."""
    new = [folder for folder in (run, run.parent) if not os.path.lexists(folder)]
    try:
        yield
    finally:
        for folder in new:
            with suppress(OSError):  # not empty: the run has begun
                folder.rmdir()


def _what_is_left(run: Path) -> str:
    last = newest_checkpoint(run)
    if last is None:
        return "No checkpoint was saved yet"
    return f"The last good checkpoint is {last}: resume with --resume {last}"
