"""Reads plain text, streaming: documents divided by blank lines or a delimiter, or one long text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sunfish.data.sources.files.records import SURROGATE, Record, open_text

READ_CHARACTERS = 1 << 20  # read from a file at a time
PART_CHARACTERS = 4_000_000  # of one long text that are handled as a unit


def read_paragraphs(path: Path) -> Iterator[tuple[int, Record]]:
    """Documents divided by blank lines, each with the number of its first line."""
    lines: list[str] = []
    first = 1
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                if not lines:
                    first = number
                lines.append(line)
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
    """
    rest, line = "", 1
    with open_text(path) as file:
        while True:
            more = file.read(READ_CHARACTERS)
            *documents, rest = (rest + more).split(delimiter)
            if not more:
                documents.append(rest)
            for document in documents:
                if document.strip():
                    yield line + document[: len(document) - len(document.lstrip())].count("\n"), document
                line += document.count("\n") + delimiter.count("\n")
            if not more:
                return


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
        ValueError: The range has bytes that are no UTF-8.
    """
    position, line, part, part_line = 0, 1, "", 0
    with open_text(path) as file:
        while position < last and (more := file.read(READ_CHARACTERS)):
            skipped = max(0, first - position)
            wanted = more[skipped : last - position]
            if bad := SURROGATE.search(wanted):
                raise ValueError(
                    f"{path}:{line + more.count(chr(10), 0, skipped + bad.start())}: bytes that are no "
                    "UTF-8; save the file as UTF-8 (for example with 'iconv -f LATIN1 -t UTF-8'), "
                    "since one long text cannot leave out a document"
                )
            if wanted and not part_line:
                part_line = line + more.count("\n", 0, skipped)
            position += len(more)
            line += more.count("\n")
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
    count = 0
    with open_text(path) as file:
        while more := file.read(READ_CHARACTERS):
            count += len(more)
    return count
