"""Finds rows that a stray quote joined, and reads the row that has the quote."""

from __future__ import annotations

import re

MAX_SEEN_VALUES, MAX_SEEN_CHARACTERS = 1_000, 40  # of a column that are remembered


class ColumnValues:
    """The short values that each column has had, by which rows inside a quoted field are known."""

    def __init__(self) -> None:
        self._seen: list[set[str]] = []

    def add(self, row: list[str]) -> None:
        """Learn the values of a row; the first one has the number of columns."""
        self._seen = self._seen or [set() for _ in row]
        for seen, value in zip(self._seen, row, strict=False):
            if 0 < len(value) <= MAX_SEEN_CHARACTERS and len(seen) < MAX_SEEN_VALUES:
                seen.add(value)

    def are_rows(self, lines: list[str], delimiter: str) -> bool:
        """Whether lines that were read as one row are rows of their own, which a stray quote joined.

        Each has all fields, and one column has numbers of one kind, or values that it has had before.
        """
        width = len(self._seen)
        if width < 2 or len(lines) < 2 or any(line.count(delimiter) != width - 1 for line in lines):
            return False
        columns = zip(*(line.rstrip("\r\n").split(delimiter) for line in lines), strict=True)
        return any(
            seen.issuperset(values) or _is_numbered(values)
            for values, seen in zip(columns, self._seen, strict=True)
        )


def _is_numbered(values: tuple[str, ...]) -> bool:
    """Whether all have numbers at the same places, such as 17 and 18, or id-4 and id-5."""
    shapes = {re.sub(r"[^\W\d]+", "a", re.sub(r"\d+", "0", value)) for value in values}
    return len(shapes) == 1 and "0" in next(iter(shapes))


def read_damaged(lines: list[str], delimiter: str, width: int) -> tuple[list[str], int]:
    """Read a row that no reader of tables takes, because of a quote that is not doubled or not closed.

    Args:
        lines: From the row's first line to the one where the quote was found out.
        delimiter: Of its fields.
        width: Number of fields that it should have.

    Returns:
        The fields, and how many of the lines they are: all, if so they have the right number and none after
        the first could be a row, else one.
    """
    pieces = lines[0].rstrip("\r\n").split(delimiter)
    if fields := _enclosed(pieces, delimiter, width):
        return fields, 1
    if len(pieces) == width:
        return [_unquoted(piece) for piece in pieces], 1
    if all(line.count(delimiter) < width - 1 for line in lines[1:]):
        joined = "".join(lines).rstrip("\r\n").split(delimiter)
        if fields := _enclosed(joined, delimiter, width):
            return fields, len(lines)
    return pieces, 1


def _enclosed(pieces: list[str], delimiter: str, width: int) -> list[str]:
    """The fields, where a quote closes one only at a delimiter; none if there are not ``width`` of them."""
    fields: list[str] = []
    quoted: list[str] = []  # the pieces of a quoted field that is not closed yet
    for piece in pieces:
        if not quoted and not piece.lstrip().startswith('"'):
            fields.append(piece)
            continue
        quoted.append(piece if quoted else piece.lstrip()[1:])
        end = quoted[-1].rstrip()
        if (len(end) - len(end.rstrip('"'))) % 2:  # an even number of quotes is doubled ones
            fields.append(delimiter.join(quoted).rstrip()[:-1].replace('""', '"'))
            quoted = []
    return fields if len(fields) == width and not quoted else []


def _unquoted(piece: str) -> str:
    """A field without the quotes around it."""
    content = piece.strip()
    is_quoted = len(content) > 1 and content[0] == content[-1] == '"'
    return content[1:-1].replace('""', '"') if is_quoted else piece
