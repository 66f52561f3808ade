"""Opens a prepared corpus: a folder of memory-mapped arrays with a manifest that holds its hashes.

The folder: ``manifest.json``, ``tokenizer.json``, and for each split (``train``, ``validation``) the files
``SPLIT.tokens.bin`` and ``SPLIT.prompts.bin`` (ids, uint16 or uint32), ``SPLIT.offsets.npy`` and
``SPLIT.prompt_offsets.npy`` (int64, where each row begins, one more than rows), ``SPLIT.bytes.npy`` (int32).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sunfish.data.arrays import map_ids, read_array, read_offsets
from sunfish.data.manifest import PROMPT_TOKENIZER, REMEDY, TOKENIZER, read_manifest
from sunfish.data.mapped import MappedArray, RowLengths
from sunfish.data.report import format_reason
from sunfish.data.sources.base import SPLITS, check_split
from sunfish.disk.json_file import json_sha256
from sunfish.tokenizers import TextTokenizer
from sunfish.utils import file_sha256


class PreparedSplit:
    """The rows of one split, as ``sunfish.data.prepare.encode`` describes them."""

    lengths: RowLengths
    """Positions of each row, marks included, ``[rows]``."""
    bytes: MappedArray
    """UTF-8 bytes of the text of each row, ``[rows]`` int32, for bits per byte."""
    one_text: bool
    """Whether all rows are windows of a single long text that has no prompts."""

    def __init__(self, folder: Path, name: str, manifest: dict[str, Any], sizes: tuple[int, int]) -> None:
        """Map the files of a split, and compare them with each other.

        Args:
            folder: The prepared folder.
            name: ``train`` or ``validation``.
            manifest: That of the folder.
            sizes: Ids of the vocabularies of texts and of prompts.

        Raises:
            ValueError: A file does not hold what the others say.
        """
        counts, recipe, dtype = manifest["splits"][name], manifest["recipe"], manifest["dtype"]
        self.name = name
        self.context_length: int = recipe["context_length"]
        self.prompt_length: int = recipe["prompt_length"]
        (self._offsets, self.lengths), (self._prompt_offsets, prompts) = _read_offsets(folder, name, manifest)
        self._tokens = map_ids(folder / f"{name}.tokens.bin", dtype, self.lengths.sum(), sizes[0])
        self._prompts = map_ids(folder / f"{name}.prompts.bin", dtype, prompts.sum(), sizes[1])
        self.bytes = read_array(folder / f"{name}.bytes.npy", "int32", counts["rows"])
        self.one_text = counts["documents"] == 1 and not prompts.sum()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def row(self, index: int, shift: int = 0) -> NDArray[np.int64]:
        """The ids of a row with its marks.

        Args:
            index: The number of the row.
            shift: The row begins so many tokens later and ends in the following ones. Only for rows of one
                text, whose last two rows are not shifted.

        Returns:
            ``[lengths[index]]`` ids.
        """
        first, end = self._offsets[index : index + 2]
        if shift:
            # The parts of a long text end in rows of any length, so two rows may hold too little.
            rows = range(index, min(index + 3, len(self) - 1))
            ends = [self._offsets[r : r + 2] for r in rows]
            stretches = [self._tokens[begin + 1 : stop] for begin, stop in ends]
            continuation = np.concatenate([*stretches, self._tokens[:0]])[shift : shift + end - first - 1]
            if len(continuation) == end - first - 1:
                return np.concatenate([self._tokens[first : first + 1], continuation]).astype(np.int64)
        return self._tokens[first:end].astype(np.int64)

    def prompt(self, index: int) -> NDArray[np.int64]:
        """The ids of the prompt of row ``index``: 1 to ``prompt_length``, or none where that is 0."""
        first, end = self._prompt_offsets[index : index + 2]
        return self._prompts[first:end].astype(np.int64)


class PreparedCorpus:
    """A prepared corpus: its tokenizers, its manifest, its splits.

    Attributes:
        folder: Where it is.
        manifest: The recipe, counts of each split, what was left out, hashes of the files.
        tokenizer: Of the texts.
        prompt_tokenizer: Of the prompts; another one only where the prompt encoder has its own vocabulary.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.tokenizer = TextTokenizer.load(folder / TOKENIZER)
        if self.tokenizer.size != manifest["tokenizer_size"]:
            raise ValueError(
                f"{folder / TOKENIZER} has {self.tokenizer.size} ids instead of {manifest['tokenizer_size']}; {REMEDY}"
            )
        separate = PROMPT_TOKENIZER in manifest["files"]
        self.prompt_tokenizer = TextTokenizer.load(folder / PROMPT_TOKENIZER) if separate else self.tokenizer

    @property
    def digest(self) -> str:
        """A hash of the rows of both splits: where it is equal, so is the training data, wherever it lay."""
        files = self.manifest["files"].items()
        rows = {name: file["sha256"] for name, file in files if not name.endswith("tokenizer.json")}
        return json_sha256(rows)

    def split(self, name: str) -> PreparedSplit:
        """One split.

        Args:
            name: ``train`` or ``validation``.

        Raises:
            ValueError: The split does not exist, or its files are damaged.
        """
        check_split(name)
        sizes = self.tokenizer.size, self.prompt_tokenizer.size
        return PreparedSplit(self.folder, name, self.manifest, sizes)


def open_prepared(folder: str | Path) -> PreparedCorpus:
    """Open a prepared folder, and compare the hash of every file.

    Args:
        folder: The folder.

    Returns:
        The corpus.

    Raises:
        UsageError: The folder does not exist.
        ValueError: It holds no prepared corpus, or one that is damaged or of another format.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing; {REMEDY}")
        size = path.stat().st_size
        if size != expected["size"]:
            raise ValueError(f"{path} has {size} bytes instead of {expected['size']}; {REMEDY}")
        if file_sha256(path) != expected["sha256"]:
            raise ValueError(f"{path} does not have the content that its manifest records; {REMEDY}")
    return PreparedCorpus(folder, manifest)


def read_lengths(folder: Path, name: str) -> tuple[RowLengths, RowLengths]:
    """The lengths of the rows and of the prompts of a split, for an estimate: no hash is compared.

    Args:
        folder: A prepared folder.
        name: ``train`` or ``validation``.

    Raises:
        ValueError: The folder is damaged or of another format.
    """
    (_, rows), (_, prompts) = _read_offsets(folder, name, read_manifest(folder))
    return rows, prompts


def _read_offsets(folder: Path, name: str, manifest: dict[str, Any]) -> list[tuple[MappedArray, RowLengths]]:
    """The offsets and lengths of the rows of a split, and those of its prompts."""
    rows, recipe = manifest["splits"][name]["rows"], manifest["recipe"]
    limits = {"offsets": (1, recipe["context_length"]), "prompt_offsets": (0, recipe["prompt_length"])}
    return [read_offsets(folder / f"{name}.{kind}.npy", rows, *limit) for kind, limit in limits.items()]


def report(corpus: PreparedCorpus) -> str:
    """What was prepared, and all that was left out or changed, in a few lines."""
    manifest = corpus.manifest
    lines = [f"{corpus.folder}: tokenizer {manifest['recipe']['tokenizer']}, {corpus.tokenizer.size:,} ids"]
    for name in SPLITS:
        lines.extend(_split_lines(name, manifest["splits"][name], manifest["recipe"]))
    if manifest["overlap"]:
        lines.append(f"warning: {manifest['overlap']:,} validation texts are training texts as well")
    for word, reasons in (("left out", manifest["skips"]), ("note", manifest["notes"])):
        for reason, entry in reasons.items():
            lines.append(f"{word}: {format_reason(reason, entry['count'], entry['places'])}")
    return "\n".join(lines)


def _split_lines(name: str, counts: dict[str, int], recipe: dict[str, Any]) -> list[str]:
    """What one split has."""
    lines = [
        f"{name}: {counts['documents']:,} documents ({counts['distinct']:,} distinct), "
        f"{counts['rows']:,} rows, {counts['tokens']:,} tokens, "
        f"{counts['bytes'] / max(1, counts['tokens']):.2f} bytes a token"
    ]
    if counts["cut_documents"]:
        lines.append(
            f"  {counts['cut_documents']:,} longer than the context of {recipe['context_length']}: "
            f"cut into {counts['windows']:,} windows"
        )
    if counts["derived_prompts"]:
        lines.append(f"  {counts['derived_prompts']:,} prompts derived from the text")
    if counts["truncated_prompts"]:
        limit = recipe["prompt_length"]
        lines.append(f"  {counts['truncated_prompts']:,} prompts cut to prompt_length {limit}")
    return lines
