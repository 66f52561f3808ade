"""Owns the shards of a preparation: encoded rows that survive a kill, and that several machines write side by side.

A shard holds the rows of ``SHARD_CHUNKS`` consecutive chunks of a split, so which documents it has depends on the
corpus alone.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, count, islice
from pathlib import Path
from typing import cast

from sunfish.data.prepare.encode import DocumentEncoder, EncodedRows
from sunfish.data.prepare.ordered_map import ordered_map
from sunfish.data.prepare.shard_files import HASH_LETTERS, ShardFolder, ShardWriter, load_shard
from sunfish.data.sources.base import CHUNK_DOCUMENTS, Chunk, Source
from sunfish.tokenizers import TextTokenizer

SHARD_CHUNKS = 64


def shard_folder(corpus: Path, encoder: DocumentEncoder) -> ShardFolder:
    """The shards of the folder ``corpus`` until it is whole; those of another tokenizer do not mix in."""
    parts = [tokenizer_digest(encoder.tokenizer), tokenizer_digest(encoder.prompt_tokenizer)]
    return ShardFolder(
        all_shards(corpus) / hashlib.sha256("".join(parts).encode()).hexdigest()[:HASH_LETTERS]
    )


def all_shards(corpus: Path) -> Path:
    """Where the shards of the folder ``corpus`` are, whatever their tokenizer."""
    return corpus.with_name(f"{corpus.name}.shards")


def tokenizer_digest(tokenizer: TextTokenizer | None) -> str:
    """A hash of all that a tokenizer does; empty for none."""
    return hashlib.sha256(tokenizer.engine.to_str().encode()).hexdigest() if tokenizer else ""


def encoded_shards(
    source: Source,
    split: str,
    encode: Callable[[Chunk], EncodedRows],
    shards: ShardFolder,
    workers: int,
    machine: tuple[int, int] | None = None,
) -> Generator[EncodedRows, None, None]:
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
    shard: ShardWriter | None = None
    number = 0
    try:
        with closing(ordered_map(encode, missing, workers)) as results:
            for rows in results:
                yield from _stored(planned)
                number = cast(int, planned.popleft())
                shard = shard or shards.begin(split, number)
                shard.append(rows)
                yield rows
                if shard.chunks == SHARD_CHUNKS:
                    shard.store()
                    shard = None
        if shard and (number or machine):  # the last one, which is smaller
            shard.store()
            shard = None
    finally:
        if shard:
            shard.discard()
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
        yield from load_shard(planned[0])
        planned.popleft()
