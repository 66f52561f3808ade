"""Owns disks without room: a small tmpfs that one process alone sees, and calls that the disk refuses.

The small disk is the real thing: it reaches what PyTorch and safetensors write as well. It needs the right
to mount, which Linux gives to root, and to everyone in a user namespace unless that is switched off.
Refused calls work everywhere, and they reach what no full tmpfs refuses: a rename, an fsync.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOMY = (2**18, 100_000)  # pages and inodes of a disk with room
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000  # <sched.h>
MS_REMOUNT, MS_REC, MS_PRIVATE = 0x20, 0x4000, 0x40000  # <sys/mount.h>
CHANGES = frozenset(("os.mkdir", "os.rename", "os.symlink", "os.link", "os.truncate"))
DELETIONS = frozenset(("os.remove", "os.rmdir"))
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Usage(NamedTuple):
    """What a run takes of a disk."""

    pages: int
    inodes: int
    calls: int = 0  # that create, rename, link or flush


def mount_disk(folder: Path) -> None:
    """Mount a roomy tmpfs at ``folder``, for this process and those that it forks.

    Raises:
        OSError: The system does not permit it.
    """
    user, group = os.getuid(), os.getgid()
    _check(_libc().unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    _mount("none", "/", "", MS_REC | MS_PRIVATE, "")
    _mount("tmpfs", str(folder), "tmpfs", 0, _options(Usage(*ROOMY)))


def limit_disk(folder: Path, limit: Usage) -> None:
    """Change how much the tmpfs at ``folder`` holds."""
    _mount("tmpfs", str(folder), "tmpfs", MS_REMOUNT, _options(limit))


def disk_usage(folder: Path) -> Usage:
    """What is taken of the disk at ``folder``."""
    stats = os.statvfs(folder)
    return Usage(stats.f_blocks - stats.f_bfree, stats.f_files - stats.f_ffree)


class Meter:
    """Measures a forked run: its calls, and the most that it took of its disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shared = mmap.mmap(-1, struct.calcsize("3q"))

    def usage(self) -> Usage:
        """What was measured."""
        return Usage(*struct.unpack("3q", self._shared[:]))

    def start(self) -> None:
        """Measure this process from now on."""
        on_disk_call(self.folder, self._count, deletions=True)

    def _count(self, changes: bool) -> None:
        before, now = self.usage(), disk_usage(self.folder)
        peak = (max(before.pages, now.pages), max(before.inodes, now.inodes), before.calls + changes)
        self._shared[:] = struct.pack("3q", *peak)


def refuse_calls(folder: Path, first: int) -> None:
    """Let the disk be full from call number ``first`` on, counted from 0, for this process."""
    count = 0

    def refuse(_: bool) -> None:
        nonlocal count
        count += 1
        if count > first:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    on_disk_call(folder, refuse, deletions=False)


def on_disk_call(folder: Path, hook: Callable[[bool], None], deletions: bool) -> None:
    """Call ``hook`` before each change of what is below ``folder``, until this process ends.

    Args:
        folder: Where; relative paths count as below it.
        hook: Gets whether the call takes room; what it raises, the call raises.
        deletions: Whether it is called before deletions too.
    """
    prefix = str(folder)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and _writes(arguments)):
            path = arguments[1] if event in ("os.symlink", "os.rename", "os.link") else arguments[0]
            if isinstance(path, str | bytes | os.PathLike) and _is_below(prefix, path):
                hook(True)
        elif deletions and event in DELETIONS:
            hook(False)

    flush = os.fsync

    def fsync(fd: Any) -> None:
        hook(True)
        flush(fd)

    os.fsync = fsync  # it has no event of its own
    sys.addaudithook(audit)


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, _, flags = arguments
    return isinstance(flags, int) and bool(flags & WRITING)


def _is_below(prefix: str, path: str | bytes | os.PathLike[Any]) -> bool:
    text = os.fsdecode(path)
    return not text.startswith("/") or text.startswith(prefix)


def _options(limit: Usage) -> str:
    return f"size={limit.pages * os.sysconf('SC_PAGESIZE')},nr_inodes={limit.inodes}"


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    words = [text.encode() for text in (source, target, kind)]
    _check(_libc().mount(*words, ctypes.c_ulong(flags), options.encode()))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
