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


def split_line(line: str, delimiter: str, width: int) -> list[str]:
    """The fields of a damaged row, which is one line.

    Args:
        line: The line.
        delimiter: Of its fields.
        width: Number of fields that it should have.

    Returns:
        The fields, with quotes removed where they enclose a whole field if that gives ``width`` of them.
    """
    pieces = line.rstrip("\r\n").split(delimiter)
    fields: list[str] = []
    quoted: list[str] = []  # the pieces of a quoted field that is not closed yet
    for piece in pieces:
        if not quoted and not piece.lstrip().startswith('"'):
            fields.append(piece)
            continue
        quoted.append(piece if quoted else piece.lstrip()[1:])
        end = quoted[-1].rstrip()
        if (len(end) - len(end.rstrip('"'))) % 2:  # an even number of quotes is escaped ones
            fields.append(delimiter.join(quoted).rstrip()[:-1].replace('""', '"'))
            quoted = []
    return fields if len(fields) == width and not quoted else pieces
