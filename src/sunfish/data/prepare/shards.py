"""Owns the shards of a preparation: encoded rows that survive a kill, and that several machines write side by side.

A shard holds the rows of ``SHARD_CHUNKS`` consecutive chunks of a split, so which documents it has depends on the
corpus alone. It is one file, complete or absent: written under a temporary name, flushed, and renamed to a name with
the hash of its content.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sunfish.data.prepare.encode import DocumentEncoder, EncodedRows
from sunfish.data.prepare.ordered_map import ordered_map
from sunfish.data.report import PreparationReport, ReasonCounts
from sunfish.data.sources.base import CHUNK_DOCUMENTS, Chunk, Source
from sunfish.disk.writing import flush, temporary_path, writing
from sunfish.tokenizers import TextTokenizer
from sunfish.utils import log

SHARD_CHUNKS = 64
HASH_LETTERS = 16  # of the hash, in a name
ARRAYS = ("tokens", "lengths", "prompts", "prompt_lengths", "bytes", "hashes")
ABOUT = "about"  # the counts and the report, as JSON


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
        for path in self.folder.glob(f"{split}-{number:06}-*.npz"):
            if path.stem.endswith(f"-{_digest(path.read_bytes())}"):
                return path
            log(f"note: {path} is damaged; it is written again")
            path.unlink()
        return None

    def save(self, split: str, number: int, rows: EncodedRows) -> None:
        """Write a shard.

        Raises:
            WriteError: There is no room for it; nothing of it is left.
        """
        about = {
            "counts": rows.counts,
            "skips": rows.report.skips.to_dict(),
            "notes": rows.report.notes.to_dict(),
        }
        buffer = io.BytesIO()
        arrays = {name: np.asarray(getattr(rows, name)) for name in ARRAYS}
        arrays[ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes a flag of this form, too
        content = buffer.getvalue()
        path = self.folder / f"{split}-{number:06}-{_digest(content)}.npz"
        temporary = temporary_path(path)
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(content)
                flush(temporary)
                temporary.rename(path)
            finally:
                temporary.unlink(missing_ok=True)


def shard_folder(corpus: Path, encoder: DocumentEncoder) -> ShardFolder:
    """The shards of the folder ``corpus`` until it is whole; those of another tokenizer do not mix in."""
    digests = [tokenizer_digest(encoder.tokenizer), tokenizer_digest(encoder.prompt_tokenizer)]
    return ShardFolder(all_shards(corpus) / _digest("".join(digests).encode()))


def all_shards(corpus: Path) -> Path:
    """Where the shards of the folder ``corpus`` are, whatever their tokenizer."""
    return corpus.with_name(f"{corpus.name}.shards")


def tokenizer_digest(tokenizer: TextTokenizer | None) -> str:
    """A hash of all that a tokenizer does; empty for none."""
    return hashlib.sha256(tokenizer.engine.to_str().encode()).hexdigest() if tokenizer else ""


def load_shard(path: Path) -> EncodedRows:
    """The rows of a shard that :meth:`ShardFolder.find` has found."""
    rows = EncodedRows()
    with np.load(path, allow_pickle=False) as arrays:
        for name in ARRAYS:
            getattr(rows, name).frombytes(arrays[name].tobytes())
        about = json.loads(arrays[ABOUT].tobytes())
    rows.counts = about["counts"]
    rows.report = PreparationReport(*(ReasonCounts.from_dict(about[kind]) for kind in ("skips", "notes")))
    return rows


class _Planned(NamedTuple):
    """What becomes of one shard."""

    number: int
    chunks: int  # to encode; 0: it is stored, or another machine's
    is_kept: bool  # whether it is worth a file


def encoded_shards(
    source: Source,
    split: str,
    encode: Callable[[Chunk], EncodedRows],
    shards: ShardFolder,
    workers: int,
    machine: tuple[int, int] | None = None,
) -> Iterator[EncodedRows]:
    """The rows of a split in their order; shards that are stored are not encoded again.

    Args:
        source: The documents.
        split: ``train`` or ``validation``.
        encode: Makes the rows of a chunk.
        shards: Where shards are stored. A corpus of one shard is not.
        workers: Number of processes; 0: every core.
        machine: Its number and how many there are: only every so many-th shard is encoded, and nothing is
            yielded but those. None: all.
    """
    planned: deque[_Planned] = deque()
    with closing(
        ordered_map(encode, _missing_chunks(source, split, shards, machine, planned), workers)
    ) as results:
        shard, left = EncodedRows(), 0
        for rows in results:
            yield from _stored(shards, split, planned, machine)
            left = left or planned[0].chunks
            left -= 1
            shard.merge(rows)
            yield rows
            if left == 0:
                plan = planned.popleft()
                if plan.is_kept:
                    shards.save(split, plan.number, shard)
                shard = EncodedRows()
    yield from _stored(shards, split, planned, machine)


def _missing_chunks(
    source: Source,
    split: str,
    shards: ShardFolder,
    machine: tuple[int, int] | None,
    planned: deque[_Planned],
) -> Iterator[Chunk]:
    """The chunks that are to be encoded; ``planned`` says which shards they and the stored ones make."""
    chunks = source.chunks(split, CHUNK_DOCUMENTS)
    for number in count():
        of_shard = list(islice(chunks, SHARD_CHUNKS))
        if not of_shard:
            return
        others = machine is not None and number % machine[1] != machine[0]
        wanted = not others and shards.find(split, number) is None
        is_kept = machine is not None or number > 0 or len(of_shard) == SHARD_CHUNKS
        planned.append(_Planned(number, len(of_shard) if wanted else 0, is_kept))
        if wanted:
            yield from of_shard


def _stored(
    shards: ShardFolder, split: str, planned: deque[_Planned], machine: tuple[int, int] | None
) -> Iterator[EncodedRows]:
    """The stored shards that come next."""
    while planned and not planned[0].chunks:
        number = planned.popleft().number
        path = shards.find(split, number) if machine is None else None
        if path is not None:
            yield load_shard(path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:HASH_LETTERS]
