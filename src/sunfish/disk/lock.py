"""Locks that the kernel releases when their process ends, however it ends; on disks without locks, a note."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sunfish.disk.writing import writing
from sunfish.utils import log

if sys.platform != "win32":
    import fcntl

POLL_SECONDS = 0.1
MAX_FACTS = 300  # bytes of a lock file that are shown

_held: set[int] = set()  # descriptors of the locks of this process


class Busy(Exception):
    """Another process has the lock."""


@contextmanager
def exclusive_lock(path: Path, on_busy: Callable[[str], object]) -> Iterator[bool]:
    """Hold the lock file ``path``, which says who holds it; the file is gone afterwards.

    Yields whether it is held: a disk may have no locks.

    Args:
        path: In a folder that exists.
        on_busy: Called once with the holder, in words, when another process has the lock. It may raise;
            otherwise the lock is waited for.
    """
    descriptor = _acquire(path, on_busy)
    if descriptor is None:
        yield False
        return
    _held.add(descriptor)
    try:
        yield True
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # still locked, so that nobody can have begun to use it
        _held.discard(descriptor)
        os.close(descriptor)


@contextmanager
def shared_lock(folder: Path) -> Iterator[None]:
    """Read a folder, which :func:`unused` meanwhile reports as in use."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(Busy):  # about to be deleted: what is read from it will be missing
            _flock(descriptor, shared=True)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody reads ``folder``; nobody begins to until the end of the block."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            _flock(descriptor, shared=False)
            free = True
        except Busy:
            free = False
        yield free
    finally:
        os.close(descriptor)


def _acquire(path: Path, on_busy: Callable[[str], object]) -> int | None:
    """The descriptor of the locked file; None on a disk without locks."""
    told = False
    while True:
        with writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            supported = _flock(descriptor, shared=False)
            if supported and _names(path, descriptor):
                _write_facts(descriptor)
                return descriptor
            if not supported:
                log(f"note: the disk of {path} has no locks; make sure that no other run writes there")
                path.unlink(missing_ok=True)
                os.close(descriptor)
                return None
        except Busy:
            if not told:
                told = True
                on_busy(_facts(descriptor))
            time.sleep(POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _flock(descriptor: int, shared: bool) -> bool:
    """Lock an open file; whether its disk has locks.

    Raises:
        Busy: another process has it.
    """
    if sys.platform == "win32":
        return False
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as why:
        raise Busy from why
    except OSError:
        return False
    return True


def _names(path: Path, descriptor: int) -> bool:
    """Whether ``path`` is still the open file: its last holder deletes it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_facts(descriptor: int) -> None:
    import socket  # for one name; --help can do without

    since = time.strftime("%Y-%m-%d %H:%M:%S")
    facts = f"process {os.getpid()} on {socket.gethostname()}, since {since}"
    with suppress(OSError):  # a full disk: the lock holds without them
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, facts.encode(), 0)


def _facts(descriptor: int) -> str:
    """Who holds a lock, which it writes right after it has it."""
    for _ in range(10):
        facts = os.pread(descriptor, MAX_FACTS, 0).decode("utf-8", "replace")
        if facts:
            return "".join(letter if letter.isprintable() else "?" for letter in facts)
        time.sleep(POLL_SECONDS / 10)
    return "another process"


def _close_in_child() -> None:
    """Worker processes must not hold the lock of a parent that was killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
