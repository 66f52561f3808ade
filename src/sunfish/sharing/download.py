"""Download: the files of a model through the hub's cache, checked before anybody opens them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sunfish.checkpoint.links import CONFIG
from sunfish.checkpoint.metadata import metadata_of
from sunfish.hardware.resources import free_disk
from sunfish.hub import Unreachable, check_name, client, hub_errors
from sunfish.sharing.repository import FILES, LARGEST, REQUIRED, TRAINER, hashed_files
from sunfish.utils import file_sha256, format_bytes, log

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FOR_SAMPLING = tuple(name for name in FILES if name != TRAINER)
COMMIT = re.compile("[0-9a-f]{40}")


class Snapshot(NamedTuple):
    """One commit of a repository in the cache; its files may be links to others there."""

    repository: str
    commit: str
    files: dict[str, Path]

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.files[CONFIG].parent


class Cache(NamedTuple):
    """The files of one repository in the hub's cache."""

    api: HfApi
    repository: str
    folder: str | Path | None  # None: HF_HUB_CACHE

    def file(
        self, name: str, revision: str | None, force_download: bool = False, local_files_only: bool = False
    ) -> Path:
        """The file of this name, sent if it is not in the cache."""
        return Path(
            self.api.hf_hub_download(
                self.repository,
                name,
                revision=revision,
                cache_dir=self.folder,
                force_download=force_download,
                local_files_only=local_files_only,
            )
        )

    def snapshot(self, names: Sequence[str], revision: str | None, why: str) -> Snapshot:
        """What is in the cache, without asking the hub.

        Raises:
            Unreachable: There is nothing, or a part of a model; says ``why`` the hub is not asked.
        """
        from huggingface_hub.errors import LocalEntryNotFoundError

        files: dict[str, Path] = {}
        for name in names:
            try:
                files[name] = self.file(name, revision, local_files_only=True)
                revision = files[name].parent.name  # one commit for all
            except LocalEntryNotFoundError as missing:
                if name in REQUIRED:
                    raise Unreachable(f"{self.repository} is not in the cache, and {why}") from missing
        return Snapshot(self.repository, files[CONFIG].parent.name, files)


def fetch(
    repository: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    names: Sequence[str] = FOR_SAMPLING,
) -> Snapshot:
    """Bring a model into the cache; one that is there already is not sent again.

    Only the files of ``names`` are asked for, whatever else the repository lists. Where the hub cannot be reached, a copy
    in the cache is taken, and a line says so.

    Args:
        repository: ``USER/NAME``.
        revision: A branch, a tag or a commit; None: the newest commit of the main branch.
        token: See :func:`sunfish.hub.client`.
        cache_dir: Where the files go; None: ``HF_HUB_CACHE``.
        force_download: Whether files in the cache are sent again.
        local_files_only: Whether only the cache is looked at.
        names: Some of :data:`sunfish.sharing.repository.FILES`, in their order.

    Raises:
        ValueError: The hub refuses, the repository holds no model of SunFish, or a file is damaged.
    """
    check_name(repository)
    cache = Cache(client(token), repository, cache_dir)
    if local_files_only:
        return _checked(cache.snapshot(names, revision, "the hub is not to be asked"))
    try:
        with hub_errors(repository, revision):
            info = cache.api.model_info(repository, revision=revision, files_metadata=True)
            commit, sizes = str(info.sha), {file.rfilename: file.size for file in info.siblings or ()}
    except Unreachable as why:
        snapshot = _checked(cache.snapshot(names, revision, str(why)))
        log(f"note: {why}. The copy of {repository} in the cache is used, commit {snapshot.commit[:8]}")
        return snapshot
    _check_listing(repository, commit, sizes, names, cache_dir)
    files: dict[str, Path] = {}
    for name in (name for name in names if name in sizes):
        # By the name of the revision once, so that the cache can say without a network what it means.
        with hub_errors(repository, revision):
            files[name] = cache.file(name, commit if files else revision, force_download=force_download)
        if files[name].parent.name != commit:
            raise ValueError(f"{repository} has changed while it was read; try again")
    return _checked(Snapshot(repository, commit, files))


@contextmanager
def real_files(snapshot: Snapshot) -> Iterator[Path]:
    """A folder with the files themselves where the cache has links, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="sunfish-") as folder:
        for name, file in snapshot.files.items():
            try:
                os.link(file.resolve(), Path(folder) / name)
            except OSError:  # another disk, or one without hard links
                shutil.copyfile(file, Path(folder) / name)
        yield Path(folder)


def _check_listing(
    repository: str,
    commit: str,
    sizes: dict[str, int | None],
    names: Sequence[str],
    cache_dir: str | Path | None,
) -> None:
    """Refuse what is no model of SunFish, or is too large, before any of it is sent."""
    from huggingface_hub import constants

    if missing := [name for name in REQUIRED if name not in sizes]:
        raise ValueError(f"{repository} is no model of SunFish: it has no {missing[0]}; check the name")
    if not COMMIT.fullmatch(commit):
        raise ValueError(f"{repository} has {commit!r:.60} as its commit, which is none; check HF_ENDPOINT")
    if others := sorted(sizes.keys() - {*FILES, ".gitattributes"}):
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        log(f"note: not read from {repository}: {', '.join(map(repr, others[:3]))}{more}")
    for name, most in LARGEST.items():
        if (size := sizes.get(name) or 0) > most:
            raise ValueError(
                f"{repository}: {name} has {size:,} bytes, but a real one has at most {most:,}; do not use it"
            )
    needed = sum(sizes.get(name) or 0 for name in names)
    free = free_disk(cache_dir or constants.HF_HUB_CACHE)
    if needed > free:
        raise ValueError(
            f"{repository} needs {format_bytes(needed)}, but the disk of the cache has {format_bytes(free)} free; "
            "make room, or set HF_HUB_CACHE"
        )


def _checked(snapshot: Snapshot) -> Snapshot:
    """The snapshot if its settings are of this version and the hashes are right; damaged files leave the cache."""
    repository = snapshot.repository
    try:
        metadata = metadata_of(snapshot.folder)
    except ValueError as why:
        forget(snapshot.files[CONFIG])
        raise ValueError(f"{repository} cannot be used: {why}") from why
    for name in hashed_files(metadata):
        if name not in snapshot.files:
            raise ValueError(f"{repository} is no whole model: it has no {name}; tell its author")
        if file_sha256(snapshot.files[name]) != metadata["files"][name]:
            forget(snapshot.files[name])
            raise ValueError(
                f"{repository}: {name} is damaged (its hash is not the one in {CONFIG}); try again, and if it stays "
                "so, tell its author"
            )
    return snapshot


def forget(file: Path) -> None:
    """Delete a file of the cache, so that it is sent again."""
    for path in (file.resolve(), file):
        with suppress(OSError):  # a cache that others own
            path.unlink()
