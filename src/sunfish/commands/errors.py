"""What an error says to a user: one line that names the thing, its value and the remedy."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from sunfish.config.rules import shown

LONGEST = 380  # characters of a message
SHOWN_PATH = 200  # of these for a path
REASONS = {
    errno.ENOENT: "there is no such file or folder; check the path",
    errno.EISDIR: "this is a folder; give a file",
    errno.ENOTDIR: "this path is a file, or leads through one; give a folder",
    errno.EACCES: "permission denied; change its permissions, or give another path",
    errno.EPERM: "the system does not permit it; give another path",
    errno.EROFS: "this disk is read-only; give a path on another one",
    errno.EEXIST: "this exists already; give another path",
    errno.ENAMETOOLONG: "this name is too long; give a shorter one",
    errno.ELOOP: "these links point at each other; give another path",
    errno.ENOSPC: "no space is left on the device; free some, or write elsewhere",
    errno.EDQUOT: "the disk quota is used up; free some space, or write elsewhere",
    errno.EMFILE: "too many files are open; raise the limit with ulimit -n",
}


def describe(error: Exception, words: Sequence[str]) -> str:
    """One line for ``error``; a bug also says where it happened.

    Args:
        error: what ended the command.
        words: the command line, in which a path is named by its flag.
    """
    # A GPU's out-of-memory error; importing torch for its type would take seconds.
    expected = isinstance(error, (ValueError, OSError, ImportError, MemoryError))
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None:
        text = _file_error(error, words)
    elif isinstance(error, MemoryError):
        text = "this needs more memory than there is; ask for less, or close other programs"
    elif not expected and type(error).__name__ != "OutOfMemoryError":
        import traceback

        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {text[:200]} ({Path(frame.filename).name}:{frame.lineno})"
        return f"{text}; this is a bug in SunFish: SUNFISH_DEBUG=1 shows its traceback"
    return text if len(text) <= LONGEST else f"{text[:190]} … {text[-180:]}"


def _file_error(error: OSError, words: Sequence[str]) -> str:
    reason = REASONS.get(error.errno or 0, (error.strerror or type(error).__name__).lower())
    if error.filename is None:
        return f"the output cannot be written: {reason}"
    name = str(error.filename)
    flag = _flag_of(Path(name), words)
    return f"{flag + ' ' if flag else ''}{shown(name, SHOWN_PATH)}: {reason}"


def _flag_of(path: Path, words: Sequence[str]) -> str:
    """The flag whose value is ``path`` or a folder above it, as the user wrote it."""
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, value = word.partition("=") if word.startswith("--") else (before, "", word)
        if flag.startswith("--") and (value or equals) and path.is_relative_to(Path(value).expanduser()):
            return flag
    return ""
