"""Owns the real corpora of quality/real_corpora: how their files are read, and what a user would ask of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.smoke import smoke_folder
from sunfish.data.stories import story
from sunfish.utils import UsageError, how_to_install

SENTIMENTS = {"pos": "positive", "neg": "negative"}
SMOKE_DOCUMENTS = 60
Records = list[dict[str, Any]]


class Corpus(NamedTuple):
    """A corpus, the flags that a user would train on it with, and prompts that are not its own."""

    path: str  # below the folder of --data
    read: Callable[[str], Records]  # from the content of the file
    flags: tuple[str, ...]
    prompts: tuple[str, ...]


def read_stories(content: str) -> Records:
    """Stories between ``<|endoftext|>``."""
    return [{"text": text.strip()} for text in content.split("<|endoftext|>") if text.strip()]


def read_reviews(content: str) -> Records:
    """Reviews, one JSON object a line, with their sentiment in words."""
    lines = content.split("\n")  # str.splitlines would also split at characters inside the reviews
    records = [json.loads(line) for line in lines if line]
    return [{**record, "sentiment": SENTIMENTS[record["label"]]} for record in records]


CORPORA: dict[str, Corpus] = {
    "tinystories": Corpus(
        "tinystories/train.txt",
        read_stories,
        (),
        (
            "Write a story about a kite",
            "Write a story about rain and umbrella",
            "Tell me about a kitten",
            "Write about cake",
        ),
    ),
    "imdb": Corpus(
        "imdb/train.jsonl",
        read_reviews,
        ("--prompt_template", "Write a {sentiment} review"),
        ("Write a positive review", "Write a negative review") * 2,
    ),
    "alpaca": Corpus(
        "alpaca/alpaca_5000.json",
        json.loads,
        ("--text_field", "output", "--prompt_template", "{instruction} {input}"),
        (
            "Name two animals that live in the sea.",
            "Write a sentence with the word river.",
            "Is this word a noun or a verb? table",
            "Explain why people sleep.",
        ),
    ),
}


def read_corpus(name: str, folder: Path) -> Records:
    """The records of a corpus.

    Args:
        name: One of ``CORPORA``.
        folder: That of all corpora.

    Raises:
        UsageError: Its file is missing.
    """
    path = folder / CORPORA[name].path
    if not path.is_file():
        raise UsageError(f"{path} is missing; give --data FOLDER, the folder that has {CORPORA[name].path}")
    return CORPORA[name].read(path.read_text(encoding="utf-8"))


@contextmanager
def served(name: str, records: Records) -> Iterator[str]:
    """A hub on this machine with the data set ``local/NAME``, until the end of the block.

    Yields:
        Its address, for HF_ENDPOINT.

    Raises:
        ImportError: What the hub is made of is not installed.
    """
    try:
        from tests.data.sources.hub.corpora import as_parquet
        from tests.sharing.hub_server import serving
    except ImportError as why:
        raise ImportError(f"the hub of this machine needs an extra: {how_to_install('test')}") from why
    with serving() as hub:
        hub.add(f"datasets/local/{name}", {"data/train-00000-of-00001.parquet": as_parquet(records)})
        yield hub.url


def smoke_corpora() -> Path:
    """A folder with a few built-in stories in the place of each corpus."""
    folder = smoke_folder() / "corpora"
    texts = [story(0, "train", index).text for index in range(SMOKE_DOCUMENTS)]
    labels = [*SENTIMENTS] * SMOKE_DOCUMENTS
    contents = {
        "tinystories": "\n<|endoftext|>\n".join(texts),
        "imdb": "\n".join(
            json.dumps({"label": label, "text": text}) for label, text in zip(labels, texts, strict=False)
        ),
        "alpaca": json.dumps(
            [{"instruction": "Tell a story.", "input": "", "output": text} for text in texts]
        ),
    }
    for name, content in contents.items():
        path = folder / CORPORA[name].path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder
