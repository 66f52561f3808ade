"""Prepares a corpus once: trains the tokenizer, encodes every text on all cores, writes the folder.

Preparation streams: no more than the tokenizer's sample and a few chunks are in memory. Its result depends on
the source and the settings alone, not on the number of workers. Its folder is named by a hash of both, so the
same run finds it again. The folder is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sunfish.config import Config
from sunfish.data.dataset import FORMAT_VERSION, PreparedCorpus, open_prepared
from sunfish.data.prepare.encode import DocumentEncoder
from sunfish.data.prepare.learn import learn_tokenizer
from sunfish.data.prepare.ordered_map import ordered_map
from sunfish.data.prepare.progress import OnProgress, show_progress
from sunfish.data.prepare.split_writer import SplitWriter
from sunfish.data.report import PreparationReport
from sunfish.data.sources.base import CHUNK_DOCUMENTS, SPLITS, Source
from sunfish.tokenizers import TextTokenizer, whole_corpus
from sunfish.utils import UsageError, file_sha256


def prepare(
    source: Source,
    config: Config,
    on_progress: OnProgress | None = None,
    workers: int = 0,
    prompt_tokenizer: TextTokenizer | None = None,
    tokenizer: TextTokenizer | None = None,
) -> PreparedCorpus:
    """The prepared corpus of a source: opened if it exists, else written to ``<data_folder>/<name>-<hash>``.

    Args:
        source: The documents.
        config: The tokenizer, and the lengths of vocabulary, rows and prompts.
        on_progress: Called with (stage, done, total) in place of the display on stderr.
        workers: Number of processes; 0: every core.
        prompt_tokenizer: Encodes the prompts where the prompt encoder has a vocabulary of its own.
        tokenizer: That of a run which is resumed; None: what ``config`` names.

    Returns:
        The corpus.

    Raises:
        UsageError: A setting names something that does not exist or does not fit.
        ValueError: A split has no usable document, or the existing folder is damaged.
    """
    recipe = _recipe(source, config, tokenizer is not None)
    folder = _folder(source, config, recipe)
    if tokenizer is not None and not _has_tokenizers(folder, tokenizer, prompt_tokenizer):
        recipe["given_tokenizers"] = [_digest(part) for part in (tokenizer, prompt_tokenizer)]
        folder = _folder(source, config, recipe)
    if folder.exists():
        return open_prepared(folder)
    with ExitStack() as stack:
        on_progress = on_progress or stack.enter_context(show_progress())
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        _write(temporary, source, recipe, on_progress, workers, prompt_tokenizer, tokenizer)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process prepared the same corpus in the meantime
                raise
    return open_prepared(folder)


def _folder(source: Source, config: Config, recipe: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    return Path(config.corpus.data_folder) / f"{source.name}-{digest[:12]}"


def _has_tokenizers(folder: Path, tokenizer: TextTokenizer, prompt_tokenizer: TextTokenizer | None) -> bool:
    """Whether ``folder`` exists and was prepared with these; a new preparation may have learned others."""
    if not folder.exists():
        return False
    prepared = open_prepared(folder)
    same = (tokenizer, prompt_tokenizer or tokenizer)
    return [_digest(part) for part in (prepared.tokenizer, prepared.prompt_tokenizer)] == [
        *map(_digest, same)
    ]


def _digest(tokenizer: TextTokenizer | None) -> str:
    return hashlib.sha256(tokenizer.engine.to_str().encode()).hexdigest() if tokenizer else ""


def _recipe(source: Source, config: Config, is_resumed: bool) -> dict[str, Any]:
    """All that determines the content of the folder, less the tokenizer that a resumed run brings along."""
    kind = config.corpus.tokenizer
    if not is_resumed:
        whole_corpus(kind)  # refuses an unknown tokenizer before any work is done
    recipe = {
        "format": FORMAT_VERSION,
        "source": source.fingerprint(),
        "tokenizer": kind,
        "vocab_size": config.model.vocab_size,
        "context_length": config.model.context_length,
        "prompt_length": config.model.prompt_length,
        "prompt_encoder": config.model.prompt_encoder,
    }
    path = Path(kind).expanduser()
    if path.is_file():
        recipe["tokenizer_files"] = {path.name: file_sha256(path)}
    elif path.is_dir():
        files = [f for f in sorted(path.iterdir()) if f.is_file() and f.suffix in (".json", ".txt", ".bpe")]
        recipe["tokenizer_files"] = {f.name: file_sha256(f) for f in files}
    return recipe


def _write(
    folder: Path,
    source: Source,
    recipe: dict[str, Any],
    on_progress: OnProgress,
    workers: int,
    prompt_tokenizer: TextTokenizer | None,
    tokenizer: TextTokenizer | None,
) -> None:
    """Write the whole folder: tokenizers, splits, and the manifest last."""
    kind, vocab_size = recipe["tokenizer"], recipe["vocab_size"]
    tokenizer, deriver = learn_tokenizer(source, kind, vocab_size, on_progress, workers, tokenizer)
    if tokenizer.size > vocab_size:
        raise UsageError(
            f"the tokenizer {kind!r} has {tokenizer.size} ids, but vocab_size is {vocab_size}; "
            f"give --vocab_size {tokenizer.size}"
        )
    tokenizer.save(folder / "tokenizer.json")
    if prompt_tokenizer is not None:
        prompt_tokenizer.save(folder / "prompt_tokenizer.json")
    encoder = DocumentEncoder(
        tokenizer,
        prompt_tokenizer or tokenizer,
        deriver,
        recipe["context_length"],
        recipe["prompt_length"],
        prompt_each_window=source.long_text,
    )
    dtype = "uint16" if max(tokenizer.size, encoder.prompt_tokenizer.size) < 65_536 else "uint32"
    report = PreparationReport()
    hashes, counts = {}, {}
    for split in SPLITS:
        with SplitWriter(folder, split, dtype) as writer:
            counts[split], hashes[split] = _write_split(writer, source, encoder, report, on_progress, workers)
    report.merge(source.report())
    overlap = len(np.intersect1d(hashes["train"], hashes["validation"]))
    splits = {"tokenizer_size": tokenizer.size, "dtype": dtype, "splits": counts, "overlap": overlap}
    _write_manifest(folder, recipe, splits, report)


def _write_split(
    writer: SplitWriter,
    source: Source,
    encoder: DocumentEncoder,
    report: PreparationReport,
    on_progress: OnProgress,
    workers: int,
) -> tuple[dict[str, int], NDArray[np.uint64]]:
    """Encode and write the documents of one split; its counts, and the hashes of its documents."""
    split = writer.split
    for rows in ordered_map(encoder, source.chunks(split, CHUNK_DOCUMENTS), workers):
        writer.append(rows)
        report.merge(rows.report)
        on_progress(f"{split} rows", writer.counts["documents"], source.total(split))
    counts, hashes = writer.finish()
    if not counts["rows"]:
        raise ValueError(
            f"the {split} split of {source.name} has no usable document"
            + "".join(f"; {line}" for line in report.skips.lines())
            + ("; raise --validation_fraction or give more documents" if split == "validation" else "")
        )
    return counts, hashes


def _write_manifest(
    folder: Path, recipe: dict[str, Any], splits: dict[str, Any], report: PreparationReport
) -> None:
    files = {f.name: {"size": f.stat().st_size, "sha256": file_sha256(f)} for f in sorted(folder.iterdir())}
    manifest = {
        "format": FORMAT_VERSION,
        "recipe": recipe,
        **splits,
        "skips": report.skips.to_dict(),
        "notes": report.notes.to_dict(),
        "files": files,
        "content_hash": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
