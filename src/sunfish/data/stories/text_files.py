"""Owns the reading of the story text files: lines that know their place, and the blocks that they form."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

FOLDER: Traversable = resources.files("sunfish.data.stories") / "text"


class Line(NamedTuple):
    """One line of a text file without the spaces around it, and its place."""

    text: str
    file: str
    number: int

    def error(self, message: str) -> ValueError:
        """An error about this line: "file:line: message"."""
        return ValueError(f"{self.file}:{self.number}: {message}")


class Block(NamedTuple):
    """The lines under one "== head", as paragraphs: runs of lines without a blank line in between."""

    head: Line
    paragraphs: list[list[Line]]


def read_lines(file: Traversable) -> list[Line]:
    """The lines of `file`, blank ones included, comments ("# ...") left out.

    Raises:
        ValueError: the file is not UTF-8.
    """
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Line("", str(file), data.count(b"\n", 0, error.start) + 1)
        raise place.error(f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8") from None
    lines = [Line(line.strip(), str(file), number) for number, line in enumerate(text.split("\n"), 1)]
    return [line for line in lines if not line.text.startswith("#")]


def read_blocks(file: Traversable) -> list[Block]:
    """The blocks of `file`.

    Raises:
        ValueError: a line stands before the first head, a head is malformed, or nothing stands under it.
    """
    blocks: list[Block] = []
    for line in read_lines(file):
        if line.text.startswith("="):
            name = line.text.removeprefix("== ")
            if name == line.text:
                raise line.error(
                    f"head {line.text!r} is malformed; write two equals signs, a space and a name"
                )
            blocks.append(Block(line._replace(text=name.strip()), [[]]))
        elif blocks and line.text:
            blocks[-1].paragraphs[-1].append(line)
        elif blocks:
            blocks[-1].paragraphs.append([])
        elif line.text:
            raise line.error(f"{line.text!r} stands before the first block; write '== name' above it")
    for head, paragraphs in blocks:
        paragraphs[:] = filter(None, paragraphs)
        if not paragraphs:
            raise head.error(f"nothing stands under '== {head.text}'; write its lines or remove it")
    return blocks


def read_pairs(file: Traversable) -> dict[str, str]:
    """The words of `file`, which has two in a line: the first one -> the second one.

    Raises:
        ValueError: a line has another number of words, or its first word occurs twice.
    """
    pairs: dict[str, str] = {}
    for line in read_lines(file):
        if not line.text:
            continue
        words = line.text.split()
        if len(words) != 2:
            raise line.error(f"{line.text!r} is not two words; write a noun and its plural")
        if words[0] in pairs:
            raise line.error(f"{words[0]!r} occurs twice; remove one of the lines")
        pairs[words[0]] = words[1]
    return pairs
