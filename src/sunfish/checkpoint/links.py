"""``last.ckpt`` and ``best.ckpt``: symbolic links, or where a disk has none, files that hold the folder's name.

Readers take a link, such a file, a real folder (a copy that followed the links) and a run's folder alike.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sunfish.checkpoint.packaged import DEMO, packaged
from sunfish.config import Config
from sunfish.disk.json_file import MAX_BYTES
from sunfish.disk.lock import shared_lock
from sunfish.disk.writing import discard, flush, temporary_path, writing
from sunfish.utils import log

LAST, BEST = "last.ckpt", "best.ckpt"
CONFIG, STATE = "config.json", "trainer/state.pt"  # of a checkpoint
METRICS, SAMPLES = "metrics.jsonl", "samples.md"  # of a run
STEP_NAME = re.compile(r"step-[0-9]{1,18}")
# What disks without symbolic links answer: FAT, exFAT, network shares, file systems in user space.
NO_LINKS = frozenset((errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL))
LONGEST_TARGET = 4096  # bytes of a file that stands for a link
ATTEMPTS, RETRY_SECONDS = 5, 0.02  # while a trainer replaces the checkpoint that is being read

Result = TypeVar("Result")


def update_link(link: Path, folder: Path) -> None:
    """Let ``link`` name ``folder`` in one step, whatever other processes do to it meanwhile.

    One that does so already is left alone: a run that has nothing left to save writes nothing.

    Raises:
        WriteError: The folder of the link cannot be written.
    """
    target = os.path.relpath(folder, link.parent)
    temporary = temporary_path(link)
    if link.is_symlink() and os.readlink(link) == target:
        return
    with writing(link):
        try:
            _make_link(temporary, target)
            if link.is_dir() and not link.is_symlink():  # a copy that followed the links
                discard(link)
            temporary.replace(link)
            flush(link.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _make_link(link: Path, target: str) -> None:
    try:
        link.symlink_to(target, target_is_directory=True)
    except (OSError, NotImplementedError) as why:
        if isinstance(why, OSError) and why.errno not in NO_LINKS:
            raise
        link.write_bytes(os.fsencode(target) + b"\n")
        flush(link)  # a link that a power cut leaves is whole, a file may be empty


def resolve_checkpoint(path: Path) -> Path:
    """The folder that ``path`` means: a checkpoint, what a link to one names, the last one of a run, or ``demo``.

    What is no checkpoint at all is returned as it is.

    Raises:
        ValueError: There is nothing, the link leads nowhere, or several runs could be meant.
    """
    path = packaged(path)
    folder = _follow(path)
    if folder.is_dir():
        if (folder / CONFIG).is_file():
            return _original(folder)
        last = find_last(folder)
    elif folder.exists():
        return folder
    else:
        last = find_last(path.parent) if path.name == LAST else None
        if last is None:
            raise ValueError(
                f"there is no checkpoint at {path}. Train one first: ./start_training.sh (or: sunfish train); "
                f"or name {DEMO}, the model that comes with SunFish"
            )
    return folder if last is None else _original(_follow(last))


def find_last(folder: Path) -> Path | None:
    """The last checkpoint of a run, or of the only run in a folder of runs; None where there is none.

    Without ``last.ckpt``, which copying to a disk without links drops, it is the newest whole checkpoint.

    Raises:
        ValueError: The folder holds several runs.
    """
    if os.path.lexists(folder / LAST):
        return folder / LAST
    if newest := newest_checkpoint(folder):
        return newest
    runs = [run for run in sorted(folder.glob("*")) if run.is_dir() and newest_checkpoint(run)]
    if len(runs) > 1:
        names = ", ".join(run.name for run in runs[:6])
        raise ValueError(f"{folder} has no {LAST}, but several runs: {names}. Name one, such as {runs[0]}")
    return find_last(runs[0]) if runs else None


def newest_checkpoint(run: Path) -> Path | None:
    """The whole checkpoint of the most steps in a run's folder, one that can be resumed if there is one."""
    whole = [
        path for path in run.glob("step-*") if STEP_NAME.fullmatch(path.name) and (path / CONFIG).is_file()
    ]
    resumable = [path for path in whole if (path / STATE).is_file()]
    return max(resumable or whole, key=lambda path: int(path.name.removeprefix("step-")), default=None)


def read_settled(path: Path, read: Callable[[Path], Result]) -> Result:
    """``read`` the folder that ``path`` means, also while a trainer replaces and deletes checkpoints.

    Raises:
        ValueError: as :func:`resolve_checkpoint` and ``read``.
    """
    for attempt in range(ATTEMPTS):
        folder = None
        try:
            folder = resolve_checkpoint(path)
            if not folder.is_dir():
                return read(folder)
            with shared_lock(folder):
                return read(folder)
        except (OSError, ValueError):
            if attempt == ATTEMPTS - 1 or not _has_moved(path, folder):
                raise
        time.sleep(RETRY_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def linked_folders(run: Path) -> set[Path]:
    """The checkpoints in a run's folder that ``last.ckpt`` and ``best.ckpt`` name."""
    links = [run / name for name in (LAST, BEST) if os.path.lexists(run / name)]
    targets = set()
    for link in links:
        with suppress(ValueError):  # it leads nowhere, so there is nothing to keep
            targets.add(run / _follow(link).name)
    return targets


def run_folder_of(checkpoint: Path, name: str) -> Path:
    """The folder of the run of ``checkpoint``, wherever it was moved or copied to.

    Args:
        checkpoint: As :func:`resolve_checkpoint` takes it.
        name: The run's name; a checkpoint that was copied without its run gets a folder of it beside itself.
    """
    parent = resolve_checkpoint(checkpoint).resolve().parent
    return parent if parent.name == name or (parent / METRICS).is_file() else parent / name


def at_its_place(config: Config, checkpoint: Path) -> Config:
    """The configuration that ``checkpoint`` stores, for a run where the checkpoint now lies; says so."""
    stored = config.training.folder
    folder = run_folder_of(checkpoint, config.training.name)
    if folder == stored.resolve():
        return config
    log(f"note: this run was written to {stored}, but now lies in {folder}; it resumes there")
    return config.with_fields(checkpoints=str(folder.parent), name=folder.name)


def _follow(path: Path) -> Path:
    """The folder or file that a link names; anything else is returned as it is."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if name := _linked_name(target):
        target = target.parent / name
    if (target != path or path.is_symlink()) and not target.exists():
        newest = newest_checkpoint(path.parent)
        remedy = f"name {newest}" if newest else "remove the link"
        raise ValueError(f"{path} points to {target}, which is gone; put it back, or {remedy}")
    return target


def _original(copy: Path) -> Path:
    """Where copying has turned a link into a copy, the checkpoint that it named, if that was copied as well."""
    file = copy / CONFIG
    if copy.name not in (LAST, BEST) or not file.is_file() or file.stat().st_size > MAX_BYTES:
        return copy
    content = file.read_bytes()
    for pattern in ("step-*", "*/step-*"):  # in the folder of the run, in that of all runs
        for folder in copy.parent.glob(pattern):
            config = folder / CONFIG
            is_same = config.is_file() and config.stat().st_size == len(content)
            if is_same and config.read_bytes() == content and (folder / STATE).is_file():
                return folder
    return copy


def _linked_name(file: Path) -> str | None:
    """The folder's name in a file that stands for a link; None for any other file."""
    if not file.is_file() or file.stat().st_size > LONGEST_TARGET:
        return None
    name = os.fsdecode(file.read_bytes().removesuffix(b"\n"))
    return name if STEP_NAME.fullmatch(Path(name).name) else None


def _has_moved(path: Path, folder: Path | None) -> bool:
    """Whether a trainer has replaced what ``path`` meant a moment ago."""
    if folder is None:
        return os.path.lexists(path)
    try:
        return not folder.exists() or resolve_checkpoint(path) != folder
    except ValueError:
        return True
