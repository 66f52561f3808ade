"""Owns the work of one machine among several that prepare a corpus: every so many-th shard of it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple

from sunfish.config import Config
from sunfish.data.prepare.learn import learn_encoder
from sunfish.data.prepare.prepare import prepared_folder
from sunfish.data.prepare.progress import OnProgress, show_progress
from sunfish.data.prepare.shard_files import ShardFolder
from sunfish.data.prepare.shards import encoded_shards, shard_folder
from sunfish.data.sources.base import SPLITS, Source


class Written(NamedTuple):
    """What one machine has done: documents that it encoded now, and where the shards are."""

    documents: int
    shards: ShardFolder


def prepare_shards(
    source: Source,
    config: Config,
    machine: tuple[int, int],
    on_progress: OnProgress | None = None,
    workers: int = 0,
) -> Written:
    """Encode the shards of one machine; a preparation after all of them finds them and writes the corpus.

    Each machine learns the same tokenizer from the same beginning of the corpus. A machine that was interrupted
    encodes what it lacks when it is started again, and what a lost one lacks, the preparation encodes.

    Args:
        source: The documents.
        config: As :func:`sunfish.data.prepare.prepare.prepare` takes it.
        machine: Its number from 0, and how many there are.
        on_progress: Called with (stage, done, total) in place of the display on stderr.
        workers: Number of processes; 0: every core.

    Raises:
        UsageError: A setting names something that does not exist or does not fit.
        ValueError: The source has no usable document.
        WriteError: A shard cannot be written.
    """
    with ExitStack() as stack:
        on_progress = on_progress or stack.enter_context(show_progress())
        encoder = learn_encoder(source, config, on_progress, workers)
        shards = shard_folder(prepared_folder(source, config), encoder)
        documents = 0
        for split in SPLITS:
            for rows in encoded_shards(source, split, encoder, shards, workers, machine):
                documents += rows.counts["documents"]
                on_progress(f"{split} rows", documents, None)
    return Written(documents, shards)
