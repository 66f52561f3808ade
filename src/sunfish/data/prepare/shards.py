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
from itertools import chain, count, islice
from pathlib import Path
from typing import cast

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
    planned: deque[int | Path] = deque()
    missing = _missing_chunks(source, split, shards, machine, planned)
    shard, held, number = EncodedRows(), 0, 0
    with closing(ordered_map(encode, missing, workers)) as results:
        for rows in results:
            yield from _stored(planned)
            number = cast(int, planned.popleft())
            shard.merge(rows)
            held += 1
            yield rows
            if held == SHARD_CHUNKS:
                shards.save(split, number, shard)
                shard, held = EncodedRows(), 0
    if held and (number or machine):  # the last one, which is smaller
        shards.save(split, number, shard)
    yield from _stored(planned)


def _missing_chunks(
    source: Source,
    split: str,
    shards: ShardFolder,
    machine: tuple[int, int] | None,
    planned: deque[int | Path],
) -> Iterator[Chunk]:
    """The chunks that are to be encoded, none of which is held.

    ``planned`` gets the number of the shard of each, and in their places the files of stored shards.
    """
    chunks = iter(source.chunks(split, CHUNK_DOCUMENTS))
    for number in count():
        first = next(chunks, None)
        if first is None:
            return
        of_shard = chain((first,), islice(chunks, SHARD_CHUNKS - 1))
        is_mine = machine is None or number % machine[1] == machine[0]
        path = shards.find(split, number) if is_mine else None
        if is_mine and path is None:
            for chunk in of_shard:
                planned.append(number)
                yield chunk
            continue
        deque(of_shard, maxlen=0)  # read past them
        if path is not None and machine is None:
            planned.append(path)


def _stored(planned: deque[int | Path]) -> Iterator[EncodedRows]:
    """The rows of the stored shards that come next."""
    while planned and isinstance(planned[0], Path):
        yield load_shard(planned[0])
        planned.popleft()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:HASH_LETTERS]
