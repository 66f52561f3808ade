"""Prepares a corpus once: trains the tokenizer, encodes every text on all cores, writes the folder.

Preparation streams: no more than the tokenizer's sample and a few chunks are in memory. Its result depends on
the source and the settings alone, not on the number of workers. Its folder is named by a hash of both, so the
same run finds it again. The folder is written under a temporary name and renamed when it is complete. What was encoded
until an interruption is kept in shards beside it (``shards.py``), and the next preparation takes it from there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from sunfish.config import Config
from sunfish.data.dataset import PreparedCorpus, open_prepared
from sunfish.data.manifest import FORMAT_VERSION, PROMPT_TOKENIZER, REMEDY, TOKENIZER, write_manifest
from sunfish.data.prepare.distinct import count_distinct
from sunfish.data.prepare.encode import DocumentEncoder, EncodedRows
from sunfish.data.prepare.learn import learn_encoder
from sunfish.data.prepare.progress import OnProgress, show_progress
from sunfish.data.prepare.shard_files import ShardFolder
from sunfish.data.prepare.shards import all_shards, encoded_shards, shard_folder, tokenizer_digest
from sunfish.data.prepare.split_writer import SplitWriter
from sunfish.data.report import PreparationReport
from sunfish.data.sources.base import SPLITS, Source
from sunfish.disk.json_file import json_sha256
from sunfish.disk.lock import exclusive_lock
from sunfish.disk.writing import clip_name, flush_tree, remove_debris, temporary_path, writing
from sunfish.tokenizers import TextTokenizer, whole_corpus
from sunfish.utils import file_sha256, log

LONGEST_NAME = 100  # bytes of a source's name in that of its folder; most disks allow 255 in all
MAX_REASONS = 3  # that an error names; the report of a corpus has all


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
        WriteError: The folder cannot be written; nothing of it is left but whole shards.
    """
    recipe = _recipe(source, config, tokenizer is not None)
    folder = _folder(source, config, recipe)
    if tokenizer is not None:
        if folder.exists():
            prepared = _open(folder, recipe)
            if _has_tokenizers(prepared, tokenizer, prompt_tokenizer or tokenizer):
                return prepared
        recipe["given_tokenizers"] = [tokenizer_digest(part) for part in (tokenizer, prompt_tokenizer)]
        folder = _folder(source, config, recipe)
    if folder.exists():
        return _open(folder, recipe)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        locked = stack.enter_context(exclusive_lock(folder.with_name(f".{folder.name}.lock"), _wait_for))
        if folder.exists():  # another process has prepared it in the meantime
            return _open(folder, recipe)
        remove_debris(folder.parent, f".{folder.name}.*", locked)
        on_progress = on_progress or stack.enter_context(show_progress())
        temporary = temporary_path(folder)
        with writing(folder):
            temporary.mkdir()
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        encoder = learn_encoder(source, config, on_progress, workers, prompt_tokenizer, tokenizer)
        _write(temporary, source, recipe, encoder, shard_folder(folder, encoder), on_progress, workers)
        flush_tree(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process was faster, on a disk without locks
                raise
        shutil.rmtree(all_shards(folder), ignore_errors=True)
    return _open(folder, recipe)


def prepared_folder(source: Source, config: Config) -> Path:
    """Where the prepared corpus of a source is, or will be."""
    return _folder(source, config, _recipe(source, config, is_resumed=False))


def _folder(source: Source, config: Config, recipe: dict[str, Any]) -> Path:
    name = f"{clip_name(source.name, LONGEST_NAME)}-{json_sha256(recipe)[:12]}"
    return Path(config.corpus.data_folder).expanduser() / name


def _wait_for(holder: str) -> None:
    log(f"waiting for {holder}: it prepares the same corpus")


def _open(folder: Path, recipe: dict[str, Any]) -> PreparedCorpus:
    """The corpus in ``folder``.

    Raises:
        ValueError: It is damaged, or it is whole and another one.
    """
    prepared = open_prepared(folder)
    if prepared.manifest["recipe"] != json.loads(json.dumps(recipe)):
        raise ValueError(f"{folder} holds another corpus than its name says; {REMEDY}")
    return prepared


def _has_tokenizers(prepared: PreparedCorpus, *given: TextTokenizer) -> bool:
    """Whether a corpus was prepared with these; a new preparation may have learned others."""
    parts = (prepared.tokenizer, prepared.prompt_tokenizer)
    return [tokenizer_digest(part) for part in parts] == [tokenizer_digest(part) for part in given]


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
    encoder: DocumentEncoder,
    shards: ShardFolder,
    on_progress: OnProgress,
    workers: int,
) -> None:
    """Write the whole folder: tokenizers, splits, and the manifest last."""
    tokenizer, prompt_tokenizer = encoder.tokenizer, encoder.prompt_tokenizer
    for name, part in ((TOKENIZER, tokenizer), (PROMPT_TOKENIZER, prompt_tokenizer)):
        if name == TOKENIZER or part is not tokenizer:
            with writing(folder / name):
                part.save(folder / name)
    dtype = "uint16" if max(tokenizer.size, prompt_tokenizer.size) < 65_536 else "uint32"
    report = PreparationReport()
    hashes: dict[str, Path] = {}
    counts: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        rows = encoded_shards(source, split, encoder, shards, workers)
        with closing(rows), SplitWriter(folder, split, dtype) as writer:
            hashes[split] = _write_split(writer, rows, source, report, on_progress)
        counts[split] = writer.counts
    report.merge(source.report())
    *distinct, overlap = count_distinct(hashes["train"], hashes["validation"])
    for split, number in zip(SPLITS, distinct, strict=True):
        counts[split]["distinct"] = number
        hashes[split].unlink()
    content = {
        "recipe": recipe,
        "tokenizer_size": tokenizer.size,
        "dtype": dtype,
        "splits": counts,
        "overlap": overlap,
        "skips": report.skips.to_dict(),
        "notes": report.notes.to_dict(),
    }
    write_manifest(folder, content)


def _write_split(
    writer: SplitWriter,
    encoded: Iterable[EncodedRows],
    source: Source,
    report: PreparationReport,
    on_progress: OnProgress,
) -> Path:
    """Write the rows of one split; where the hashes of its documents are."""
    split = writer.split
    for rows in encoded:
        writer.append(rows)
        report.merge(rows.report)
        on_progress(f"{split} rows", writer.counts["documents"], source.total(split))
    hashes = writer.finish()
    if not writer.counts["rows"]:
        raise ValueError(
            f"the {split} split of {source.name} has no usable document"
            + "".join(f"; {line}" for line in report.skips.lines()[:MAX_REASONS])
            + ("; raise --validation_fraction or give more documents" if split == "validation" else "")
        )
    return hashes
