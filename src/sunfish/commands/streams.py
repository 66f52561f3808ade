"""What becomes of text on its way to stdout: other encodings, terminals, full disks."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sunfish.utils import log, visible


@contextmanager
def lossless_stdout() -> Iterator[None]:
    """Print characters that the encoding of stdout lacks as escapes such as ``\\xe9``, and say so once."""
    escaped = False

    def escape(error: UnicodeError) -> tuple[str | bytes, int]:
        nonlocal escaped
        assert isinstance(error, UnicodeEncodeError)
        if "\udc80" <= error.object[error.start] <= "\udcff":  # a byte of a file name
            return bytes([ord(error.object[error.start]) - 0xDC00]), error.start + 1
        escaped = True
        return codecs.backslashreplace_errors(error)

    stdout = sys.stdout
    if not hasattr(stdout, "reconfigure"):  # closed, or a notebook's
        yield
        return
    before = stdout.errors
    codecs.register_error("sunfish-escape", escape)
    stdout.reconfigure(errors="sunfish-escape")
    try:
        yield
    finally:
        try:
            stdout.reconfigure(errors=before)
        except OSError:  # it flushes first; what it cannot write was reported
            abandon_stdout()
        if escaped:
            log(
                f"note: stdout is {stdout.encoding}, which lacks some characters: they are written as escapes; "
                "PYTHONIOENCODING=utf-8 writes them as they are"
            )


def abandon_stdout() -> None:
    """Send what is left to nowhere: its reader has gone, or its disk is full, and Python would try again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def screen_text(text: str) -> str:
    """``text`` as it is for a file or a pipe; on a terminal its control characters are visible, not obeyed."""
    return visible(text) if sys.stdout is not None and sys.stdout.isatty() else text
