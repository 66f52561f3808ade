"""Owns corpora of any size that nobody stores: texts that are written as they are read, rows that are holes of files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sunfish.config import Config
from sunfish.data.manifest import FORMAT_VERSION, MANIFEST, write_manifest
from sunfish.data.prepare.number_file import NumberFile
from sunfish.data.prepare.prepare import prepared_folder
from sunfish.data.sources import open_source
from sunfish.data.sources.base import LocatedExample
from sunfish.data.sources.files.fields import RecordFields
from sunfish.data.sources.held_out import HeldOutSource, is_held_out
from sunfish.types import Example

WORDS, ZIPF = 50_000, 1.1
DRAWN = 2**20  # words of the text that all documents are cut from
SHORTEST, LONGEST = 10, 600  # words of a document
ROWS_WRITTEN = 2**20  # at a time


class SyntheticSource(HeldOutSource):
    """Documents of made-up words with the frequencies of a language, each a function of (seed, number)."""

    def __init__(self, size: int, seed: int = 0) -> None:
        """Nothing is written yet.

        Args:
            size: Bytes of text, about.
            seed: Of the documents.
        """
        super().__init__("synthetic", RecordFields("text", "", ""), 0.01)
        self.size, self.seed = size, seed
        rng = np.random.default_rng(seed)
        letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
        lengths = rng.integers(2, 10, WORDS)
        words = ["".join(rng.choice(letters, length, p=_zipf(26, 1.0))) for length in lengths]
        self._text = [words[i] for i in rng.choice(WORDS, DRAWN, p=_zipf(WORDS, ZIPF))]

    def fingerprint(self) -> dict[str, Any]:
        """Size and seed."""
        return {"source": "synthetic", "size": self.size, "seed": self.seed}

    def _read(self, split: str, threshold: int) -> Iterator[LocatedExample]:
        rng = np.random.default_rng(self.seed)
        written = number = 0
        while written < self.size:
            count, first = int(rng.integers(SHORTEST, LONGEST)), int(rng.integers(DRAWN - LONGEST))
            text = f"{number} " + " ".join(self._text[first : first + count])
            written, number = written + len(text), number + 1
            document = LocatedExample(f"synthetic:{number}", Example("", text))
            if is_held_out(document, threshold) == (split == "validation"):
                yield document

    def _too_few(self, count: int) -> str:
        return f"{self.size} bytes are too few for two documents"


def inflate(folder: Path, config: Config, size: int) -> int:
    """A prepared corpus that is many times another one, at the place where a run of ``config`` looks for it.

    Lengths of rows and prompts repeat those of the corpus. Ids beyond them are holes, which read as 0 and take no room.

    Args:
        folder: The prepared corpus; it moves.
        config: The run.
        size: Bytes of text that the training split is to hold.

    Returns:
        Rows of the training split.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    counts = manifest["splits"]["train"]
    times = -(-size // counts["bytes"])
    for kind, ids in (("offsets", "tokens"), ("prompt_offsets", "prompts")):
        lengths = np.diff(np.load(folder / f"train.{kind}.npy"))
        _write_offsets(folder / f"train.{kind}.npy", lengths, times)
        with (folder / f"train.{ids}.bin").open("r+b") as file:
            file.truncate(int(lengths.sum()) * times * np.dtype(manifest["dtype"]).itemsize)
    sizes = NumberFile(folder / "train.bytes.npy", "int32")
    for _ in range(times):
        sizes.append(np.full(counts["rows"], counts["bytes"] // counts["rows"]))
    sizes.finish()
    for name in ("documents", "rows", "tokens", "bytes", "distinct", "derived_prompts"):
        counts[name] *= times
    source = open_source(config.corpus, config.training.seed)
    manifest["recipe"]["source"] = json.loads(json.dumps(source.fingerprint()))
    target = prepared_folder(source, config)
    folder.rename(target)
    (target / MANIFEST).unlink()
    write_manifest(
        target, {key: manifest[key] for key in manifest if key not in ("format", "files", "sha256")}
    )
    assert manifest["format"] == FORMAT_VERSION
    return int(counts["rows"])


def _write_offsets(path: Path, lengths: np.ndarray, times: int) -> None:
    offsets, end = NumberFile(path, "int64"), 0
    offsets.append([0])
    for _ in range(times):
        offsets.append(end + lengths.cumsum())
        end += int(lengths.sum())
    offsets.finish()


def _zipf(count: int, exponent: float) -> np.ndarray:
    weights = 1 / np.arange(1, count + 1) ** exponent
    return weights / weights.sum()
