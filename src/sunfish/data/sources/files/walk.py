"""Finds the files of a corpus: through linked files and folders, each once; what is not read has its reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from sunfish.text_files import HEAD_BYTES, why_no_text
from sunfish.utils import UsageError

Unread = tuple[str, Path]  # the reason, and the file or folder
READ_ELSEWHERE = "is read under another name"


def find_files(path: Path, suffixes: Collection[str]) -> tuple[list[Path], list[Unread]]:
    """The files of a corpus, and what is not read, both in the order of their names.

    Args:
        path: A file, or a folder; linked folders in it are followed.
        suffixes: Of the files that are read, in lower case; the name that a link has counts.

    Returns:
        The files, and all else with its reason.

    Raises:
        UsageError: There is no file that can be read.
        ValueError: ``path`` does not exist.
    """
    names = ", ".join(suffixes)
    if path.is_dir():
        files, unread = _in_folder(path, suffixes)
        if not files:
            raise UsageError(f"data is {path}, a folder without any {names} file; give another one")
        return files, unread
    if not path.exists():
        raise ValueError(f"data is {path}, which does not exist; give a file or a folder")
    if not path.is_file():
        raise UsageError(f"data is {path}, no regular file but a pipe, a socket or a device; give a file")
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"data is {path}: the files can be {names}, or a folder of these")
    return [path], []


def why_not_read(file: Path) -> str | None:
    """Why nothing of a file can be read, or None."""
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
    except OSError as error:
        return f"file cannot be read ({error.strerror})"
    if not head:
        return "file is empty"
    return None if file.suffix.lower() == ".parquet" else why_no_text(head)


def _in_folder(folder: Path, suffixes: Collection[str]) -> tuple[list[Path], list[Unread]]:
    """The files below ``folder``, each once, and all else with its reason."""
    found, unread = _walk(folder)
    found.sort()
    files: dict[tuple[int, int], Path] = {}
    for path, identity in found:
        if path.suffix.lower() in suffixes:
            files.setdefault(identity, path)
    for path, identity in found:
        if identity not in files:
            unread.append((f"file is none of {', '.join(suffixes)}", path))
        elif files[identity] != path:
            unread.append((f"file {READ_ELSEWHERE}", path))
    return list(files.values()), sorted(unread, key=lambda entry: entry[1])


def _walk(top: Path) -> tuple[list[tuple[Path, tuple[int, int]]], list[Unread]]:
    """The regular files below ``top`` with their identities, and what is none."""
    found: list[tuple[Path, tuple[int, int]]] = []
    unread: list[Unread] = []
    status = top.stat()
    folders, visited = [top], {(status.st_dev, status.st_ino)}
    while folders:
        folder = folders.pop()
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            unread.append((f"folder cannot be read ({error.strerror})", folder))
            continue
        for path in (folder / name for name in names):
            if path.name.startswith("."):
                unread.append(("hidden, so not read", path))
                continue
            try:
                status = path.stat()
            except OSError as error:
                is_link = path.is_symlink()
                unread.append(("link leads nowhere" if is_link else f"{error.strerror}", path))
                continue
            identity = status.st_dev, status.st_ino
            if stat.S_ISREG(status.st_mode):
                found.append((path, identity))
            elif not stat.S_ISDIR(status.st_mode):
                unread.append(("no regular file", path))
            elif identity in visited:
                unread.append((f"folder {READ_ELSEWHERE}", path))
            else:
                visited.add(identity)
                folders.append(path)
    return found, unread
