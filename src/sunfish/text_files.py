"""Reads the text files that a user gives: the encoding by its mark, the lines, and what is no text at all.

A byte order mark at the start of a file or a line is no text, so files that were joined read like one. Bytes
that the encoding cannot hold become lone surrogates: one bad byte costs one document and not the file.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

MARK = "\ufeff"  # the byte order mark as a character
SURROGATE = re.compile("[\ud800-\udfff]")
HEAD_BYTES = 1 << 16  # of a file, by which text is told from everything else
READ_CHARACTERS = 1 << 20  # read from a file at a time
MAX_CHARACTERS = 1 << 26  # of a text that is read whole; a device or a pipe may never end
MAX_DAMAGE = 0.1  # share of characters that no text has, above which a file is no UTF-8

# UTF-32 comes first: its little-endian mark begins like that of UTF-16.
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_UNMARKED = ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE")
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a zip archive (or an office document, which is one)",
    b"\x1f\x8b": "packed with gzip",
    b"\xfd7zXZ\0": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
}
_MARK_OF_LINE = re.compile(f"(?<=\n){MARK}+")
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\ud800-\udfff]")  # escape sequences are text
_STRANGE = ("Cc", "Cn", "Co", "Cs")  # Unicode's categories of control, unassigned, private, surrogate


def _surrogate(error: UnicodeError) -> tuple[str, int]:
    """The error handler of every encoding; Python's own ``surrogateescape`` knows UTF-8 alone."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


ERRORS = "sunfish.surrogate"
codecs.register_error(ERRORS, _surrogate)


def encoding_of(head: bytes) -> str:
    """The encoding of a text that begins with ``head``: by its mark, and UTF-8 where it has none."""
    return next((name for mark, name in _ENCODINGS.items() if head.startswith(mark)), "UTF-8")


def why_no_text(head: bytes) -> str | None:
    """Why a file that begins with ``head`` is no text, with the remedy; None for a text."""
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return f"file is {kind}, no text; convert it to text"
    if encoding_of(head) != "UTF-8" or b"\0" not in head:
        return None
    text = head.decode("utf-8", ERRORS)
    if len(_NO_TEXT.findall(text)) <= MAX_DAMAGE * len(text):
        return None
    likely = [name for name in _UNMARKED if _decodes(head, name)]
    if not likely:
        return "file is binary, no text; convert it to text"
    # Latin letters in UTF-16 are Chinese ones with their bytes swapped; the NULs tell the halves apart.
    little_endian = head[1::2].count(0) >= head[::2].count(0)
    if likely[0].startswith("UTF-16") and f"UTF-16{'LE' if little_endian else 'BE'}" in likely:
        likely = [f"UTF-16{'LE' if little_endian else 'BE'}"]
    return f"file is {likely[0]} without a byte order mark; convert it: iconv -f {likely[0]} -t UTF-8"


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """Open a text file; what its encoding cannot hold becomes lone surrogates.

    Args:
        path: The file; it may be a pipe.
        newline: As for ``open``; None: every line ends with a newline character.
    """
    return _decoded(_open_binary(path), newline)


def text_lines(path: Path, newline: str | None = None) -> Iterator[tuple[int, str]]:
    r"""The lines of a text with their numbers, from 1; a line ends with ``\n``, ``\r\n`` or ``\r`` alone."""
    with open_text(path, newline) as file:
        for number, line in enumerate(file, 1):
            yield number, line.lstrip(MARK)


def text_blocks(path: Path) -> Iterator[str]:
    r"""A text in pieces of about ``READ_CHARACTERS``, every line end a ``\n``."""
    last = "\n"
    with open_text(path) as file:
        while block := file.read(READ_CHARACTERS):
            block = _MARK_OF_LINE.sub("", last + block)
            yield block[1:]
            last = block[-1]


def read_text(path: Path) -> str:
    """The whole text of a small file.

    Args:
        path: The file; it may be a pipe.

    Raises:
        ValueError: The file is no text, is too long, or its encoding cannot hold it.
    """
    with _open_binary(path) as binary:
        return read_stream(binary, str(path))


def read_stream(binary: io.BufferedReader, name: str, newline: str | None = None) -> str:
    """The whole text of an open file.

    Args:
        binary: The file, at its beginning.
        name: What an error calls it.
        newline: As for ``open``; None: every line ends with a newline character.

    Raises:
        ValueError: The file is no text, is too long, or its encoding cannot hold it.
    """
    head = binary.peek(HEAD_BYTES)
    if reason := why_no_text(head):
        raise ValueError(f"{name}: {reason}")
    text = _decoded(binary, newline).read(MAX_CHARACTERS + 1)
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{name}: text has more than {MAX_CHARACTERS:,} characters; divide it")
    if bad := SURROGATE.search(text) or re.search("\0", text):
        fault = "a NUL byte" if bad.group() == "\0" else f"bytes that are no {encoding_of(head)}"
        line = text.count("\n", 0, bad.start()) + 1
        raise ValueError(f"{name}:{line}: {fault}; {remedy(encoding_of(head))}")
    return _MARK_OF_LINE.sub("", "\n" + text)[1:]


def remedy(encoding: str) -> str:
    """What to do with a text that is no valid ``encoding``."""
    if encoding == "UTF-8":
        return "save the file as UTF-8: iconv -f ENCODING -t UTF-8 (its encoding, such as WINDOWS-1252 or SHIFT_JIS)"
    return f"the file is damaged; save it again, as UTF-8 or {encoding}"


def _open_binary(path: Path) -> io.BufferedReader:
    return io.BufferedReader(io.FileIO(str(path)), HEAD_BYTES)


def _decoded(binary: io.BufferedReader, newline: str | None) -> TextIO:
    return io.TextIOWrapper(binary, encoding_of(binary.peek(4)), ERRORS, newline)


def _decodes(head: bytes, encoding: str) -> bool:
    """Whether ``head`` is the beginning of a text in ``encoding``."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    strange = sum(unicodedata.category(c) in _STRANGE and not c.isspace() for c in text)
    return strange < MAX_DAMAGE * len(text)
