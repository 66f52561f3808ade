"""Owns damage that any file may suffer: bytes, lengths, other files and other kinds of files in its place.

A damage changes the file at a path, by dice, and returns what it did in a few words.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, random.Random], str]

HUGE = 3 * 2**30  # bytes of a file that takes no room on disk
DONOR = "other"  # folder of another run, beside the one that is damaged


def flip_bit(path: Path, dice: random.Random) -> str:
    """One bit."""
    content = bytearray(path.read_bytes())
    place, bit = dice.randrange(len(content)), dice.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} flipped"


def replace_bytes(path: Path, dice: random.Random) -> str:
    """Up to 16 bytes in a row."""
    content = bytearray(path.read_bytes())
    place, count = dice.randrange(len(content)), dice.randint(1, 16)
    content[place : place + count] = dice.randbytes(len(content[place : place + count]))
    path.write_bytes(content)
    return f"{count} bytes from {place} on replaced"


def zero_block(path: Path, dice: random.Random) -> str:
    """A sector that was never written."""
    content = bytearray(path.read_bytes())
    place = dice.randrange(len(content)) // 512 * 512
    block = content[place : place + 512]
    content[place : place + 512] = bytes(len(block))
    path.write_bytes(content)
    return f"{len(block)} bytes from {place} on are 0"


def truncate(path: Path, dice: random.Random) -> str:
    """The end is missing."""
    size = dice.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"cut to {size} bytes"


def extend(path: Path, dice: random.Random) -> str:
    """Something follows the end."""
    more = dice.choice((b"\0", b" ", b"\n", b"}", dice.randbytes(1))) * dice.choice((1, 7, 4096))
    with path.open("ab") as file:
        file.write(more)
    return f"{len(more)} bytes {more[:1]!r} added"


def repeat(path: Path, dice: random.Random) -> str:
    """The content twice."""
    path.write_bytes(path.read_bytes() * 2)
    return "written twice"


def empty(path: Path, dice: random.Random) -> str:
    """No content."""
    path.write_bytes(b"")
    return "empty"


def remove(path: Path, dice: random.Random) -> str:
    """No file."""
    path.unlink()
    return "removed"


def take_neighbor(path: Path, dice: random.Random) -> str:
    """The content of another file of the folder."""
    neighbors = [p for p in sorted(path.parent.iterdir()) if p != path and p.is_file()]
    if not neighbors:
        return empty(path, dice)
    chosen = dice.choice(neighbors)
    path.write_bytes(chosen.read_bytes())
    return f"content of {chosen.name}"


def take_from_other_run(path: Path, dice: random.Random) -> str:
    """The content of the file of the same name of another run."""
    donor = next(p for p in sorted(donor_of(path).rglob(path.name)) if p.is_file())
    shutil.copyfile(donor, path)
    return "content of the other run's file"


def donor_of(path: Path) -> Path:
    """The folder of the other run."""
    return next(parent / DONOR for parent in path.parents if (parent / DONOR).is_dir())


def make_pipe(path: Path, dice: random.Random) -> str:
    """A named pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)
    return "a named pipe"


def make_folder(path: Path, dice: random.Random) -> str:
    """A folder, empty or not."""
    path.unlink()
    path.mkdir()
    if dice.random() < 0.5:
        (path / "file").write_text("text")
    return "a folder"


def make_link(path: Path, dice: random.Random) -> str:
    """A link to nothing, to itself, to a device, to a file elsewhere."""
    outside = donor_of(path).parent / "elsewhere"
    outside.write_bytes(dice.randbytes(64))
    target = dice.choice(("nowhere", path.name, "/dev/zero", "/dev/null", str(outside), "/proc/self/mem"))
    path.unlink()
    path.symlink_to(target)
    return f"a link to {Path(target).name if target.startswith(str(outside.parent)) else target}"


def make_huge(path: Path, dice: random.Random) -> str:
    """Gigabytes of zeros after the content."""
    os.truncate(path, HUGE)
    return f"{HUGE} bytes long"


BYTES: tuple[Damage, ...] = (
    *(flip_bit, flip_bit, replace_bytes, replace_bytes, zero_block, truncate, extend, repeat, empty, remove),
    *(take_neighbor, take_from_other_run),
)
SPECIAL: tuple[Damage, ...] = (*(make_pipe, make_folder, make_link) * 3, make_huge)
