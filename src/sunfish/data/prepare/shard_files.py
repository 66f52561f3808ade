"""Owns the files of shards: complete or absent, checked by a hash in their names, written and read in pieces.

A file is a sequence of records. A record is one line of JSON, which has the counts, the report and how many numbers
follow, and then the arrays of some rows one after the other. So neither a writer nor a reader holds a whole shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

from sunfish.data.prepare.encode import EncodedRows
from sunfish.data.report import PreparationReport, ReasonCounts
from sunfish.disk.writing import flush, temporary_path, write_all, writing
from sunfish.utils import file_sha256, log

HASH_LETTERS = 16  # of the hash, in a name
RECORD_IDS = 2**22  # after so many ids a record ends
SUFFIX = ".rows"
ARRAYS = ("tokens", "lengths", "prompts", "prompt_lengths", "bytes", "hashes")


class ShardFolder:
    """The shards of one corpus that are complete."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written yet.

        Args:
            folder: Of shards that were encoded alike.
        """
        self.folder = folder

    def find(self, split: str, number: int) -> Path | None:
        """The file of a shard if it is complete; one with another content than its name says is deleted."""
        for path in self.folder.glob(f"{split}-{number:06}-*{SUFFIX}"):
            if path.stem.endswith(f"-{file_sha256(path)[:HASH_LETTERS]}"):
                return path
            log(f"note: {path} is damaged; it is written again")
            path.unlink()
        return None

    def begin(self, split: str, number: int) -> ShardWriter:
        """A shard to which rows can be appended."""
        return ShardWriter(self.folder / f"{split}-{number:06}")


class ShardWriter:
    """Appends the rows of chunks to a shard; few rows stay in memory until they are stored.

    Attributes:
        chunks: How many were appended.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is written yet.

        Args:
            path: The file to come, without hash and suffix.
        """
        self.chunks = 0
        self._path, self._temporary = path, temporary_path(path)
        self._file: FileIO | None = None
        self._rows = EncodedRows()

    def append(self, rows: EncodedRows) -> None:
        """Add the rows of the chunk that follows.

        Raises:
            WriteError: There is no room for them.
        """
        self._rows.merge(rows)
        self.chunks += 1
        if len(self._rows.tokens) + len(self._rows.prompts) >= RECORD_IDS:
            self._write()

    def store(self) -> None:
        """Make the shard a complete file.

        Raises:
            WriteError: There is no room for it; :meth:`discard` deletes what there is of it.
        """
        self._write()
        self._close()
        with writing(self._path):
            flush(self._temporary)
            digest = file_sha256(self._temporary)[:HASH_LETTERS]
            self._temporary.rename(self._path.with_name(f"{self._path.name}-{digest}{SUFFIX}"))

    def discard(self) -> None:
        """Delete what is not stored."""
        self._close()
        self._temporary.unlink(missing_ok=True)
        for folder in (self._path.parent, self._path.parent.parent):
            with suppress(OSError):  # it has shards, or it was never made
                folder.rmdir()

    def _write(self) -> None:
        rows, self._rows = self._rows, EncodedRows()
        about = {
            "sizes": [len(getattr(rows, name)) for name in ARRAYS],
            "counts": rows.counts,
            "skips": rows.report.skips.to_dict(),
            "notes": rows.report.notes.to_dict(),
        }
        with writing(self._path):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._temporary.open("wb", buffering=0)
            write_all(self._file, json.dumps(about).encode() + b"\n")
            for name in ARRAYS:
                write_all(self._file, memoryview(getattr(rows, name)))

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()


def load_shard(path: Path) -> Iterator[EncodedRows]:
    """The rows of a shard that :meth:`ShardFolder.find` has found, record by record."""
    with path.open("rb") as file:
        for line in iter(file.readline, b""):
            about, rows = json.loads(line), EncodedRows()
            for name, size in zip(ARRAYS, about["sizes"], strict=True):
                getattr(rows, name).fromfile(file, size)
            rows.counts = about["counts"]
            reasons = (ReasonCounts.from_dict(about[kind]) for kind in ("skips", "notes"))
            rows.report = PreparationReport(*reasons)
            yield rows
