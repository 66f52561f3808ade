"""Writes files: whole or not at all, under names that no other process has, failures said in one line."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

TEMPORARY = ".writing"  # the end of the name of whatever is not whole yet, or about to be deleted
TEMPORARY_NAME = re.compile(rf"\.(.+)\.[0-9]+-[0-9a-f]{{8}}{re.escape(TEMPORARY)}")
LONGEST_PREFIX = 150  # bytes of a name that a temporary name keeps; most disks allow 255
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
NOT_ALLOWED = frozenset((errno.EROFS, errno.EACCES, errno.EPERM))
# Libraries in Rust and C++ give the number of an error only in words, or not at all.
NUMBER_IN_WORDS = re.compile(r"\(os error (\d+)\)")
TORCH_WRITER = ("inline_container", "PytorchStreamWriter")
ABANDONED_SECONDS = 24 * 3600.0  # a temporary file that is older belongs to no process that still runs
ALMOST_FULL = 2**16  # free bytes below which a failed write of unknown cause has found the disk full


class WriteError(OSError):
    """A file could not be written: one line with the name it would have had, the reason and the remedy."""

    def __init__(self, path: Path, number: int | None, reason: str) -> None:
        final = Path(*(TEMPORARY_NAME.sub(r"\1", part) for part in path.parts))
        super().__init__(f"{final} could not be written: {reason}; {_remedy(number)}")

    def __reduce__(self) -> tuple[Callable[[str], WriteError], tuple[str]]:
        """Pickled by its line: what fails in one process of a run fails in all of them."""
        return _of_line, (str(self),)


def _of_line(line: str) -> WriteError:
    error = WriteError.__new__(WriteError)
    OSError.__init__(error, line)
    return error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any failure to write ``path`` into a :class:`WriteError`, whichever library it comes from.

    Raises:
        WriteError: The disk is full, read-only or broken, or the file is too large.
    """
    try:
        yield
    except WriteError:
        raise
    except Exception as why:  # torch, safetensors and tokenizers each raise a kind of their own
        number = _error_number(why)
        if number is None and not _is_failed_write(why):
            raise
        if number is None and _free_bytes(path) < ALMOST_FULL:
            number = errno.ENOSPC
        text = str(why).splitlines()[0] if number is None and str(why) else os.strerror(number or errno.EIO)
        raise WriteError(path, number, text[:1].lower() + text[1:]) from why


def temporary_path(path: Path) -> Path:
    """A name beside ``path`` that no other process or thread uses."""
    return path.with_name(
        f".{clip_name(path.name, LONGEST_PREFIX)}.{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY}"
    )


def clip_name(name: str, size: int) -> str:
    """The first letters of ``name``, at most ``size`` bytes, so that what is added to it still makes a name."""
    return os.fsencode(name)[:size].decode("utf-8", "ignore")


def remove_debris(folder: Path, pattern: str, locked: bool) -> None:
    """Delete what killed processes left half written in ``folder``.

    Args:
        folder: May not exist.
        pattern: The beginning of the names, as a glob.
        locked: Whether no other process can be writing such names; otherwise what is new stays.
    """
    for path in folder.glob(f"{pattern}{TEMPORARY}"):
        with suppress(OSError):  # another process deletes it as well
            if locked or time.time() - path.lstat().st_mtime > ABANDONED_SECONDS:
                _delete(path)


def discard(path: Path) -> None:
    """Delete a file or folder: it is gone at once, never half there.

    Raises:
        WriteError: It cannot be renamed.
    """
    doomed = temporary_path(path)
    with writing(path):
        path.rename(doomed)
    _delete(doomed)


def replace_folder(folder: Path, new: Path) -> None:
    """Let the whole folder ``new`` be ``folder``, in place of what may be there; flushed to disk."""
    old = temporary_path(folder)
    with writing(folder):
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        flush(folder.parent)
    _delete(old)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as why:
        if not path.is_dir() or why.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise  # some network shares cannot flush a folder; its files they can
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Flush all files below ``folder``, and the folders.

    Raises:
        WriteError: One of them cannot be written.
    """
    for path in [*sorted(folder.rglob("*")), folder]:
        with writing(path):
            flush(path)


def append(path: Path, text: str) -> None:
    """Append ``text`` to a file, all of it or nothing.

    Raises:
        WriteError: It cannot be written.
    """
    with writing(path), path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            write_all(file, text.encode("utf-8", "backslashreplace"))
        except OSError:
            with suppress(OSError):  # the first failure is the one to report
                file.truncate(size)
            raise


def write_all(file: FileIO, content: bytes | memoryview) -> None:
    """Write to a file without a buffer, whose rest would be tried again, and fail again, when it is closed."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def drop_torn_line(path: Path) -> None:
    """Cut off the last line of a file of lines if a power cut or a kill left it without its end."""
    if not path.is_file():
        return
    with writing(path), path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - 2**16)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end < size:
            file.truncate(end)


def check_writable(folder: Path) -> None:
    """Make ``folder`` and write a file in it, so that a run does not learn at its first save that it cannot.

    Raises:
        WriteError: It cannot be made or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = temporary_path(folder / "probe")
        try:
            probe.write_bytes(b"probe")
            flush(probe)
        finally:
            probe.unlink(missing_ok=True)


def _delete(path: Path) -> None:
    """Delete what nobody reads by this name; what remains, such as a file held open on NFS, is debris."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _error_number(why: BaseException) -> int | None:
    """The system's number of an error, from the exception, its words, or what it arose from."""
    error: BaseException | None = why
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if words := NUMBER_IN_WORDS.search(str(error)):
            return int(words[1])
        error = error.__cause__ or error.__context__
    return None


def _is_failed_write(why: Exception) -> bool:
    return isinstance(why, OSError) or any(word in str(why) for word in TORCH_WRITER)


def _free_bytes(path: Path) -> float:
    try:
        return shutil.disk_usage(path if path.is_dir() else path.parent).free
    except OSError:
        return float("inf")


def _remedy(number: int | None) -> str:
    if number in NO_ROOM:
        return "make room on that disk"
    if number == errno.EFBIG:
        return "raise the limit on the size of a file (ulimit -f)"
    if number in NOT_ALLOWED:
        return "make it writable, or choose another folder with --checkpoints and --data_folder"
    if number == errno.ENAMETOOLONG:
        return "choose a shorter --name or a folder with a shorter path"
    if number in (errno.ENOTDIR, errno.EEXIST, errno.EINVAL):
        return "choose another folder or --name"
    return "check the disk"
