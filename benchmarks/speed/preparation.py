"""Bytes of text that are prepared a second and core, beside the raw tokenizers library on the same texts.

    ./run.sh benchmarks/speed/preparation.py
    ./run.sh benchmarks/speed/preparation.py --data train.jsonl --texts 5000

A preparation reads a file of JSON lines, divides its documents into splits, derives a prompt for each, encodes texts
and prompts, packs them into rows, hashes and writes them, and opens the result. The peer encodes texts that are in
memory, with offsets (``encode_batch``), which is what cutting a long text needs, and without (``encode_batch_fast``).
All run in one process with one thread, and seconds are those of its processor. What is learned from the first 10 MB of
a corpus, however large it is, is learned before; its time is subtracted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.timing import interleave, ratio
from benchmarks.workload import config_of
from sunfish.config.data import STORIES
from sunfish.data.prepare.learn import learn_encoder
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.data.sources.base import CHUNK_DOCUMENTS
from sunfish.data.stories.generate import story
from sunfish.tokenizers import TextTokenizer
from sunfish.utils import UsageError

ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
BASE = "small"
SMOKE_TEXTS = 150


def write_stories(path: Path, count: int) -> None:
    """Stories without their prompts, as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(json.dumps({"text": story(0, "train", number).text}) + "\n")


def copy_lines(source: Path, path: Path, count: int) -> None:
    """The first lines of a file of JSON lines.

    Raises:
        UsageError: It is no such file.
    """
    if source.suffix != ".jsonl" or not source.is_file():
        raise UsageError(f"data is {source}; give stories or a file of JSON lines, .jsonl")
    with source.open(encoding="utf-8") as file, path.open("w", encoding="utf-8") as copy:
        copy.writelines(line for _, line in zip(range(count), file, strict=False))


def raw(texts: list[str], tokenizer: TextTokenizer, method: str) -> int:
    """Encode with the library alone; the number of ids."""
    encode = getattr(tokenizer.engine, method)
    chunks = (texts[first : first + CHUNK_DOCUMENTS] for first in range(0, len(texts), CHUNK_DOCUMENTS))
    return sum(len(encoding.ids) for chunk in chunks for encoding in encode(chunk, add_special_tokens=False))


def measure(run: Run) -> None:
    """Prepare and encode in turn."""
    os.environ.update(ONE_THREAD)
    config = config_of(run, BASE)
    data, count = config.corpus.data, SMOKE_TEXTS if run.smoke else run.arguments.texts
    with tempfile.TemporaryDirectory() as name:
        path, folder = Path(name) / "texts.jsonl", Path(name) / "data"
        if data == STORIES:
            write_stories(path, count)
        else:
            copy_lines(Path(data).expanduser(), path, count)
        config = config.with_fields(data=str(path), data_folder=str(folder))
        source = open_source(config.corpus, 0)
        tokenizer = learn_encoder(source, config, _quiet, 1).tokenizer
        texts = list(_texts(path, config.corpus.text_field))
        size = sum(len(text.encode()) for text in texts)

        def whole(_: int) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            prepare(source, config, _quiet, 1, tokenizer=tokenizer)

        arms: dict[str, Callable[[int], object]] = {
            "prepare": whole,
            "learn": lambda _: learn_encoder(source, config, _quiet, 1, None, tokenizer),
            "offsets": lambda _: raw(texts, tokenizer, "encode_batch"),
            "fast": lambda _: raw(texts, tokenizer, "encode_batch_fast"),
        }
        rounds = 1 if run.smoke else run.arguments.rounds
        run.header(torch.float32, f"median of {rounds} rounds, processor seconds", data=Path(data).name)
        timed = interleave(arms, rounds, clock=time.process_time, warmup=0 if run.smoke else 1)
    seconds = timed["prepare"].median - timed["learn"].median
    figures: dict[str, float | None] = {"megabytes": size / 1e6, "megabytes_per_second": size / seconds / 1e6}
    for name in ("offsets", "fast"):
        figures[f"raw_{name}_megabytes_per_second"] = size / timed[name].median / 1e6
        figures[f"ratio_{name}"] = ratio(timed[name].median, seconds)
    run.add({"texts": len(texts), "tokenizer": config.corpus.tokenizer}, figures)


def _texts(path: Path, field: str) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line)[field] for line in file)


def _quiet(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody sees."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How much."""
    parser.add_argument("--texts", type=int, default=10_000, help="documents (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each arm (%(default)s)")


benchmark = Benchmark(
    "speed/preparation",
    __doc__,
    measure,
    claim="a core prepares at least 70% of the bytes that it tokenizes in the same time",
    peer="the tokenizers library encoding the same texts with the same vocabulary",
    add_flags=add_flags,
    trains=True,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
