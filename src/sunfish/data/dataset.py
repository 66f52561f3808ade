"""Opens a prepared corpus: a folder of memory-mapped arrays with a manifest that holds its hashes.

The folder: ``manifest.json``, ``tokenizer.json``, and for each split (``train``, ``validation``) the files
``SPLIT.tokens.bin`` and ``SPLIT.prompts.bin`` (ids, uint16 or uint32), ``SPLIT.offsets.npy`` and
``SPLIT.prompt_offsets.npy`` (int64, where each row begins, one more than rows), ``SPLIT.bytes.npy`` (int32).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from sunfish.data.prepare.report import line
from sunfish.tokenizers import TextTokenizer

FORMAT = 1
SPLITS = ("train", "validation")
REMEDY = "delete the folder and prepare it again"


class PreparedSplit:
    """The rows of one split. A row is ``[end] w_1 … w_n [end]``; ``sunfish.data.prepare.encode`` tells more."""

    def __init__(self, folder: Path, name: str, dtype: str, context_length: int, documents: int) -> None:
        self.name = name
        self.context_length = context_length
        self._offsets = np.load(folder / f"{name}.offsets.npy")
        self._prompt_offsets = np.load(folder / f"{name}.prompt_offsets.npy")
        self._tokens = _map(folder / f"{name}.tokens.bin", dtype, int(self._offsets[-1]))
        self._prompts = _map(folder / f"{name}.prompts.bin", dtype, int(self._prompt_offsets[-1]))
        self.lengths: np.ndarray = np.diff(self._offsets)
        """Positions of each row, marks included, ``[rows]`` int64."""
        self.bytes: np.ndarray = np.load(folder / f"{name}.bytes.npy")
        """UTF-8 bytes of the text of each row, ``[rows]`` int32, for bits per byte."""
        self.one_text: bool = documents == 1 and not self._prompt_offsets[-1]
        """Whether all rows are windows of a single long text that has no prompts."""

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def row(self, i: int, shift: int = 0) -> np.ndarray:
        """The ids of row ``i`` with its marks, ``[lengths[i]]`` int64.

        With a ``shift`` the window begins so many tokens later and ends in the next row; only for rows of one text, and
        for the last two of them it is not done.
        """
        first, next_row = self._offsets[i], self._offsets[i + 1]
        if not shift or i >= len(self) - 2:
            return self._tokens[first:next_row].astype(np.int64)
        mark, here = self._tokens[first : first + 1], self._tokens[first + 1 + shift : next_row]
        return np.concatenate([mark, here, self._tokens[next_row + 1 : next_row + 1 + shift]]).astype(
            np.int64
        )

    def prompt(self, i: int) -> np.ndarray:
        """The ids of the prompt of row ``i``, at least one unless ``prompt_length`` is 0 and at most that, int64."""
        return self._prompts[self._prompt_offsets[i] : self._prompt_offsets[i + 1]].astype(np.int64)


class Prepared:
    """A prepared corpus: its tokenizer, its manifest, its two splits."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.tokenizer = TextTokenizer.load(folder / "tokenizer.json")
        own = folder / "prompt_tokenizer.json"
        self.prompt_tokenizer = TextTokenizer.load(own) if own.is_file() else self.tokenizer

    def split(self, name: str) -> PreparedSplit:
        """``train`` or ``validation``."""
        if name not in SPLITS:
            raise ValueError(f"split is {name!r}; the splits are: {', '.join(SPLITS)}")
        recipe, counts = self.manifest["recipe"], self.manifest["splits"][name]
        return PreparedSplit(
            self.folder, name, self.manifest["dtype"], recipe["context_length"], counts["documents"]
        )


def open_prepared(folder: str | Path, verify: bool = False) -> Prepared:
    """Open a prepared folder. ``verify`` compares the hash of every file; sizes are always compared."""
    folder = Path(folder)
    if not (folder / "manifest.json").is_file():
        state = "has no manifest.json" if folder.is_dir() else "does not exist"
        raise ValueError(f"{folder} {state}: it is no prepared corpus; run 'sunfish data' first")
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        form, files = manifest["format"], manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'manifest.json'} is damaged ({error!r}); {REMEDY}") from error
    if form != FORMAT:
        raise ValueError(f"{folder} has format {form}, but this version reads format {FORMAT}; {REMEDY}")
    for name, known in files.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing; {REMEDY}")
        if path.stat().st_size != known["size"]:
            raise ValueError(f"{path} has {path.stat().st_size} bytes instead of {known['size']}; {REMEDY}")
        if verify and file_hash(path) != known["sha256"]:
            raise ValueError(f"{path} does not have the content that its manifest records; {REMEDY}")
    return Prepared(folder, manifest)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def report(prepared: Prepared) -> str:
    """What was prepared, and all that was left out or changed, in a few lines."""
    manifest = prepared.manifest
    recipe = manifest["recipe"]
    lines = [f"{prepared.folder}: tokenizer {recipe['tokenizer']}, {prepared.tokenizer.size:,} ids"]
    for name in SPLITS:
        part = manifest["splits"][name]
        lines.append(
            f"{name}: {part['documents']:,} documents ({part['distinct']:,} distinct), "
            f"{part['rows']:,} rows, {part['tokens']:,} tokens, "
            f"{part['bytes'] / max(1, part['tokens']):.2f} bytes a token"
        )
        if part["cut_documents"]:
            lines.append(
                f"  {part['cut_documents']:,} longer than the context of {recipe['context_length']}: "
                f"cut into {part['windows']:,} windows"
            )
        if part["derived_prompts"]:
            lines.append(f"  {part['derived_prompts']:,} prompts derived from the text")
        if part["truncated_prompts"]:
            limit = recipe["prompt_length"]
            lines.append(f"  {part['truncated_prompts']:,} prompts cut to prompt_length {limit}")
    if manifest["overlap"]:
        lines.append(f"warning: {manifest['overlap']:,} validation texts are training texts as well")
    for word, skips in (("left out", manifest["skips"]), ("note", manifest["notes"])):
        lines.extend(f"{word}: {line(reason, s['count'], s['places'])}" for reason, s in skips.items())
    return "\n".join(lines)


def _map(path: Path, dtype: str, count: int) -> np.ndarray:
    if path.stat().st_size != count * np.dtype(dtype).itemsize:
        raise ValueError(f"{path} does not hold the {count} ids that its offsets say; {REMEDY}")
    return np.memmap(path, dtype=dtype, mode="r") if count else np.empty(0, dtype)
