"""Reads plain text, streaming: documents divided by blank lines or a delimiter, or one long text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sunfish.data.sources.files.records import Record
from sunfish.text_files import encoding_of, remedy, text_blocks, text_lines
from sunfish.utils import UsageError

PART_CHARACTERS = 4_000_000  # of one long text that are handled as a unit
MAX_DOCUMENT = 2**25  # characters; a file without the expected divisions would be held whole
_DAMAGE = re.compile("[\0\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.?)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "\\": "\\"}


def parse_delimiter(spelling: str) -> str:
    r"""The delimiter that a user spelled; line ends in it become ``\n``, as those of the files do.

    Args:
        spelling: A text in which ``\n``, ``\t``, ``\x1e``, ``\u2028`` and so on may be spelled out.

    Raises:
        UsageError: A backslash is followed by anything else.
    """

    def character(escape: re.Match[str]) -> str:
        code = escape[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        if code not in _ESCAPED:
            raise UsageError(
                f"delimiter is {spelling!r}: {escape[0]} is no escape; there are \\n, \\r, \\t, \\f, \\v, "
                "\\xHH, \\uHHHH, and \\\\ for a backslash"
            )
        return _ESCAPED[code]

    return _ESCAPE.sub(character, spelling).replace("\r\n", "\n").replace("\r", "\n")


def read_paragraphs(path: Path) -> Iterator[tuple[int, Record]]:
    """Documents divided by blank lines, each with the number of its first line.

    Raises:
        ValueError: One is longer than ``MAX_DOCUMENT``.
    """
    lines: list[str] = []
    first, size = 1, 0
    for number, line in text_lines(path):
        if line.strip():
            if not lines:
                first, size = number, 0
            lines.append(line)
            size += len(line)
            _check_length(path, first, size)
        elif lines:
            yield first, "".join(lines)
            lines = []
    if lines:
        yield first, "".join(lines)


def read_delimited(path: Path, delimiter: str) -> Iterator[tuple[int, Record]]:
    """Documents divided by a delimiter, each with the number of its first line.

    Blank documents are dropped: they only mean that the file begins or ends with the delimiter.

    Args:
        path: The file.
        delimiter: Any text; it may stand inside a line.

    Raises:
        ValueError: A document is longer than ``MAX_DOCUMENT``.
    """
    rest, line = "", 1
    for block in text_blocks(path):
        *documents, rest = (rest + block).split(delimiter)
        for document in documents:
            if document.strip():
                yield line + _leading_lines(document), document
            line += document.count("\n") + delimiter.count("\n")
        _check_length(path, line, len(rest))
    if rest.strip():
        yield line + _leading_lines(rest), rest


def read_long_text(
    path: Path, first: int, last: int, part_characters: int = PART_CHARACTERS
) -> Iterator[tuple[int, str]]:
    """A range of a file's characters in parts that end before white space, each with the number of its line.

    Args:
        path: The file.
        first: The range's first character.
        last: The character after the range.
        part_characters: Length of a part at most.

    Raises:
        ValueError: The range has bytes that its encoding cannot hold, or NULs.
    """
    position, line, part, part_line = 0, 1, "", 0
    for block in text_blocks(path):
        if position >= last:
            break
        skipped = max(0, first - position)
        wanted = block[skipped : last - position]
        if bad := _DAMAGE.search(wanted):
            bad_line = line + block.count("\n", 0, skipped + bad.start())
            raise ValueError(_damaged(path, bad_line, bad.group()))
        if wanted and not part_line:
            part_line = line + block.count("\n", 0, skipped)
        position += len(block)
        line += block.count("\n")
        part += wanted
        while len(part) > part_characters:
            cut = max(part.rfind(" ", 0, part_characters), part.rfind("\n", 0, part_characters))
            cut = cut if cut > 0 else part_characters
            yield part_line, part[:cut]
            part_line += part.count("\n", 0, cut)
            part = part[cut:]
    if part:
        yield part_line, part


def count_characters(path: Path) -> int:
    """Number of characters of a text file."""
    return sum(map(len, text_blocks(path)))


def _check_length(path: Path, line: int, size: int) -> None:
    if size > MAX_DOCUMENT:
        raise ValueError(
            f"{path}:{line}: a document of more than {MAX_DOCUMENT:,} characters; say what divides the documents, such "
            "as --delimiter '\\n', or --delimiter none for one long text"
        )


def _leading_lines(document: str) -> int:
    return document[: len(document) - len(document.lstrip())].count("\n")


def _damaged(path: Path, line: int, character: str) -> str:
    with path.open("rb") as file:
        encoding = encoding_of(file.read(4))
    what = "a NUL character" if character == "\0" else f"bytes that are no {encoding}"
    return f"{path}:{line}: {what}; {remedy(encoding)}, since one long text cannot leave out a document"
