"""Prepares a corpus once: trains the tokenizer, turns every text into ids on all cores, writes the folder.

Preparation streams: no more than the tokenizer's sample and a few chunks are in memory. Its result depends on
the source and the settings alone, not on the number of workers, and its folder is named by a hash of both, so
the same run finds it again. The folder is written under a temporary name and renamed when it is whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from sunfish.config import Config
from sunfish.data.dataset import FORMAT, SPLITS, Prepared, PreparedSplit, file_hash, open_prepared, report
from sunfish.data.prepare.derived_prompts import PHRASINGS, Deriver, Statistics
from sunfish.data.prepare.encode import Job, Located, RowMaker, Rows
from sunfish.data.prepare.ordered_map import in_order
from sunfish.data.prepare.progress import OnProgress, show_progress
from sunfish.data.prepare.report import SkipReport
from sunfish.tokenizers import TextTokenizer, build_tokenizer, whole_corpus

__all__ = ["Prepared", "PreparedSplit", "open_prepared", "prepare", "report"]

CHUNK = 256  # documents a job; fixed, so that nothing depends on the number of workers
SAMPLE_TEXTS, SAMPLE_CHARACTERS = 20_000, 10_000_000  # what a tokenizer learns from
PROMPT_EVERY = 8  # of the texts without a prompt, the share whose derived prompt the tokenizer learns from


class PreparableSource(Protocol):
    """A source that can say what it is and hand out its documents as picklable jobs."""

    name: str

    def fingerprint(self) -> dict[str, Any]: ...

    def chunks(self, split: str, size: int) -> Iterator[Job]: ...


def prepare(
    source: PreparableSource,
    config: Config,
    on_progress: OnProgress | None = None,
    workers: int = 0,
    prompt_tokenizer: TextTokenizer | None = None,
) -> Prepared:
    """The prepared corpus of ``source``; opened if it exists, else written to
    ``<data_folder>/<name>-<hash>``.

    ``on_progress(stage, done, total)`` replaces the display on stderr. ``workers`` 0: every core.
    ``prompt_tokenizer`` writes the prompts' ids where the prompt encoder has a vocabulary of its own.
    """
    recipe = _recipe(source, config)
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    folder = Path(config.corpus.data_folder) / f"{source.name}-{digest[:12]}"
    if folder.exists():
        return open_prepared(folder)
    with ExitStack() as stack:
        on_progress = on_progress or stack.enter_context(show_progress())
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        _write(temporary, source, recipe, on_progress, workers, prompt_tokenizer)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process prepared the same corpus in the meantime
                raise
    return open_prepared(folder)


def _recipe(source: PreparableSource, config: Config) -> dict[str, Any]:
    """All that determines the content of the folder."""
    kind = config.corpus.tokenizer
    whole_corpus(kind)  # raises for an unknown tokenizer before any work is done
    recipe = {
        "format": FORMAT,
        "source": source.fingerprint(),
        "tokenizer": kind,
        "vocab_size": config.model.vocab_size,
        "context_length": config.model.context_length,
        "prompt_length": config.model.prompt_length,
        "prompt_encoder": config.model.prompt_encoder,
    }
    path = Path(kind).expanduser()
    if path.is_file():
        recipe["tokenizer_files"] = {path.name: file_hash(path)}
    elif path.is_dir():
        files = [f for f in sorted(path.iterdir()) if f.is_file() and f.suffix in (".json", ".txt", ".bpe")]
        recipe["tokenizer_files"] = {f.name: file_hash(f) for f in files}
    return recipe


def _write(
    folder: Path,
    source: PreparableSource,
    recipe: dict[str, Any],
    on_progress: OnProgress,
    workers: int,
    prompt_tokenizer: TextTokenizer | None,
) -> None:
    tokenizer, deriver = _learn(source, recipe["tokenizer"], recipe["vocab_size"], on_progress, workers)
    if tokenizer.size > recipe["vocab_size"]:
        raise ValueError(
            f"the tokenizer {recipe['tokenizer']!r} has {tokenizer.size} ids, but vocab_size is "
            f"{recipe['vocab_size']}; give --vocab_size {tokenizer.size}"
        )
    tokenizer.save(folder / "tokenizer.json")
    if prompt_tokenizer is not None:
        prompt_tokenizer.save(folder / "prompt_tokenizer.json")
    largest = max(tokenizer.size, prompt_tokenizer.size if prompt_tokenizer else 0)
    dtype = "uint16" if largest < 65_536 else "uint32"
    maker = RowMaker(
        tokenizer,
        deriver,
        recipe["context_length"],
        recipe["prompt_length"],
        prompt_tokenizer,
        prompt_each_window=getattr(source, "long_text", False),
    )
    skips, notes, hashes, parts = SkipReport(), SkipReport(), {}, {}
    for split in SPLITS:
        writer = _SplitWriter(folder, split, dtype)
        with writer.files:
            for rows in in_order(maker, source.chunks(split, CHUNK), workers):
                writer.append(rows)
                skips.merge(rows.skips)
                notes.merge(rows.notes)
                on_progress(f"{split} rows", writer.counts["documents"], _total(source, split))
        parts[split], hashes[split] = writer.finish()
        if not parts[split]["rows"]:
            raise ValueError(
                f"the {split} split of {source.name} has no usable document"
                + "".join(f"; {line}" for line in skips.lines())
                + ("; raise --validation_fraction or give more documents" if split == "validation" else "")
            )
    skips.merge(getattr(source, "skips", SkipReport()))
    notes.merge(getattr(source, "notes", SkipReport()))
    files = {f.name: {"size": f.stat().st_size, "sha256": file_hash(f)} for f in sorted(folder.iterdir())}
    manifest = {
        "format": FORMAT,
        "recipe": recipe,
        "tokenizer_size": tokenizer.size,
        "dtype": dtype,
        "splits": parts,
        "overlap": len(np.intersect1d(hashes["train"], hashes["validation"])),
        "skips": skips.to_dict(),
        "notes": notes.to_dict(),
        "files": files,
        "content_hash": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _learn(
    source: PreparableSource, kind: str, vocab_size: int, on_progress: OnProgress, workers: int
) -> tuple[TextTokenizer, Deriver]:
    """The tokenizer, and the word counts for derived prompts, from the first texts of the training split."""
    everything = whole_corpus(kind)
    sample: list[Located] = []
    statistics = Statistics()
    characters = 0
    chunks = in_order(_call, source.chunks("train", CHUNK), workers)
    for located in chunks:
        for _, example in located:
            statistics.add(example.text)
            characters += len(example.text)
        sample.extend(located)
        on_progress("reading a sample for the tokenizer", len(sample), None)
        if len(sample) >= SAMPLE_TEXTS or characters >= SAMPLE_CHARACTERS:
            break
    chunks.close()  # type: ignore[attr-defined]  # ends the worker processes
    deriver = statistics.deriver()
    texts: Iterable[str] = _training_texts(sample, deriver)
    if everything:
        jobs = itertools.chain.from_iterable(source.chunks(split, CHUNK) for split in SPLITS)
        rest = (
            t for located in in_order(_call, jobs, workers) for _, e in located for t in (e.prompt, e.text)
        )
        texts = itertools.chain(PHRASINGS, rest)  # derived prompts have no other letters than these
    on_progress(f"tokenizer {kind}", len(sample), len(sample))
    return build_tokenizer(kind, vocab_size, texts), deriver


def _training_texts(sample: list[Located], deriver: Deriver) -> Iterator[str]:
    """Prompts and texts, so that the words of prompts become tokens too, and each letter of the phrasings."""
    yield from PHRASINGS
    for number, (_, example) in enumerate(sample):
        yield example.text
        if example.prompt:
            yield example.prompt
        elif number % PROMPT_EVERY == 0:
            yield deriver.derive(example.text)


def _call(job: Job) -> list[Located]:
    return job()


def _total(source: PreparableSource, split: str) -> int | None:
    total = getattr(source, "total", None)
    return total(split) if total else None


class _SplitWriter:
    """Appends rows to the files of one split."""

    def __init__(self, folder: Path, split: str, dtype: str) -> None:
        self.folder, self.split, self.dtype = folder, split, dtype
        self.files = ExitStack()
        opened = partial(self._open, folder, split)
        self.tokens, self.prompts = opened("tokens.bin"), opened("prompts.bin")
        self.lengths: list[np.ndarray] = []
        self.prompt_lengths: list[np.ndarray] = []
        self.bytes: list[np.ndarray] = []
        self.hashes: list[np.ndarray] = []
        self.counts: dict[str, int] = Rows().counts

    def _open(self, folder: Path, split: str, name: str) -> BinaryIO:
        return self.files.enter_context((folder / f"{split}.{name}").open("wb"))

    def append(self, rows: Rows) -> None:
        """Write one chunk."""
        self.tokens.write(np.asarray(rows.tokens).astype(self.dtype).tobytes())
        self.prompts.write(np.asarray(rows.prompts).astype(self.dtype).tobytes())
        self.lengths.append(np.asarray(rows.lengths))
        self.prompt_lengths.append(np.asarray(rows.prompt_lengths))
        self.bytes.append(np.asarray(rows.bytes))
        self.hashes.append(np.asarray(rows.hashes))
        for name, count in rows.counts.items():
            self.counts[name] += count

    def finish(self) -> tuple[dict[str, int], np.ndarray]:
        """Write the arrays; the manifest's part, and the hashes of the documents."""

        def joined(arrays: list[np.ndarray], dtype: str) -> np.ndarray:
            return np.concatenate([np.empty(0, dtype), *arrays])

        lengths, sizes = joined(self.lengths, "int64"), joined(self.bytes, "int32")
        for name, counts in (("offsets", lengths), ("prompt_offsets", joined(self.prompt_lengths, "int64"))):
            np.save(
                self.folder / f"{self.split}.{name}.npy",
                np.concatenate([[0], np.cumsum(counts)]).astype("int64"),
            )
        np.save(self.folder / f"{self.split}.bytes.npy", sizes)
        hashes = np.unique(joined(self.hashes, "uint64"))
        part = {"rows": len(lengths), "tokens": int(lengths.sum()), "bytes": int(sizes.sum())}
        return {**self.counts, **part, "distinct": len(hashes)}, hashes
