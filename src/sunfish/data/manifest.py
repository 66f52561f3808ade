"""``manifest.json`` of a prepared corpus: recipe, counts, a hash of every other file, and a hash of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sunfish.data.prepare.encode import COUNTS
from sunfish.data.sources.base import SPLITS
from sunfish.disk.json_file import SEAL, SHA256, is_sealed, read_json, seal
from sunfish.disk.writing import writing
from sunfish.utils import UsageError, file_sha256

FORMAT_VERSION = 3
MANIFEST, TOKENIZER, PROMPT_TOKENIZER = "manifest.json", "tokenizer.json", "prompt_tokenizer.json"
SPLIT_FILES = ("tokens.bin", "offsets.npy", "prompts.bin", "prompt_offsets.npy", "bytes.npy")
FILES = (TOKENIZER, *(f"{split}.{name}" for split in SPLITS for name in SPLIT_FILES))
TOTALS = ("rows", "tokens", "bytes", "distinct")  # of a split, besides COUNTS
ID_TYPES = ("uint16", "uint32")
KINDS: dict[str, type] = {
    "format": int,
    "recipe": dict,
    "tokenizer_size": int,
    "dtype": str,
    "splits": dict,
    "overlap": int,
    "skips": dict,
    "notes": dict,
    "files": dict,
    SEAL: str,
}
MAX_BYTES = 2**26  # each reason for which documents were left out takes a line
REMEDY = "delete the folder, and it is prepared again"


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest of a folder that has all other files.

    Args:
        folder: The folder.
        content: All entries but the format, the files and the hash.

    Raises:
        WriteError: There is no room for it.
    """
    files = {f.name: {"size": f.stat().st_size, "sha256": file_sha256(f)} for f in sorted(folder.iterdir())}
    manifest = seal({"format": FORMAT_VERSION, **content, "files": files})
    path = folder / MANIFEST
    with writing(path):
        path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder, every value of it checked.

    Raises:
        UsageError: The folder does not exist.
        ValueError: It holds no prepared corpus, or one that is damaged or of another format.
    """
    path, remedy = folder / MANIFEST, "run 'sunfish data' first"
    if not folder.is_dir():
        raise UsageError(f"{folder} does not exist, so it is no prepared corpus; {remedy}")
    if not path.is_file():
        raise ValueError(f"{folder} has no {MANIFEST}, so it is no prepared corpus; {remedy}")
    try:
        manifest = read_json(path, MAX_BYTES)
        if not isinstance(manifest, dict) or type(manifest.get("format")) is not int:
            raise ValueError("it has no format")
    except ValueError as why:
        raise ValueError(f"{path} is damaged ({why}); {REMEDY}") from why
    if manifest["format"] != FORMAT_VERSION:
        raise ValueError(
            f"{folder} has format {manifest['format']!r:.40}, but this version reads format {FORMAT_VERSION}; "
            f"{REMEDY}"
        )
    try:
        if not is_sealed(manifest):
            raise ValueError("its hash differs")
        _check_values(manifest)
    except ValueError as why:
        raise ValueError(f"{path} is damaged ({why}); {REMEDY}") from why
    return {key: value for key, value in manifest.items() if key != SEAL}


def _check_values(manifest: dict[str, Any]) -> None:
    """Refuse values that no preparation writes, so that nothing is opened, shown or allocated by them.

    Raises:
        ValueError: Says which value is wrong.
    """
    if odd := sorted(manifest.keys() ^ KINDS.keys()):
        raise ValueError(f"{odd[0]!r:.40} is missing or unknown")
    for name, kind in KINDS.items():
        if type(manifest[name]) is not kind:
            raise ValueError(f"{name} is {manifest[name]!r:.40}")
    _check_recipe(manifest["recipe"])
    _check_files(manifest["files"])
    if manifest["dtype"] not in ID_TYPES:
        raise ValueError(f"dtype is {manifest['dtype']!r:.40}")
    if not 0 < manifest["tokenizer_size"] <= manifest["recipe"]["vocab_size"]:
        raise ValueError(f"tokenizer_size is {manifest['tokenizer_size']}")
    _check_counts("overlap", {"overlap": manifest["overlap"]}, ("overlap",))
    if manifest["splits"].keys() != set(SPLITS):
        raise ValueError(f"its splits are {list(manifest['splits'])!r:.40}")
    for split, counts in manifest["splits"].items():
        _check_counts(split, counts, (*COUNTS, *TOTALS))
    for name in ("skips", "notes"):
        for reason, entry in manifest[name].items():
            places = entry.get("places") if isinstance(entry, dict) else None
            if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
                raise ValueError(f"{name} has {reason!r:.40} without places")
            _check_counts(name, {"count": entry.get("count")}, ("count",))


def _check_recipe(recipe: dict[str, Any]) -> None:
    if type(recipe.get("tokenizer")) is not str:
        raise ValueError(f"tokenizer is {recipe.get('tokenizer')!r:.40}")
    for name, least in (("vocab_size", 1), ("context_length", 1), ("prompt_length", 0)):
        if not _is_count(recipe.get(name), least):
            raise ValueError(f"{name} is {recipe.get(name)!r:.40}")


def _check_files(files: dict[str, Any]) -> None:
    if odd := sorted((files.keys() - {PROMPT_TOKENIZER}) ^ set(FILES)):
        raise ValueError(f"files lacks {odd[0]}" if odd[0] in FILES else f"files names {odd[0]!r:.80}")
    for name, entry in files.items():
        is_entry = isinstance(entry, dict) and entry.keys() == {"size", "sha256"} and _is_count(entry["size"])
        if not is_entry or not SHA256.fullmatch(str(entry["sha256"])):
            raise ValueError(f"size and hash of {name} are {entry!r:.80}")


def _check_counts(name: str, counts: Any, expected: tuple[str, ...]) -> None:
    if not isinstance(counts, dict) or counts.keys() != set(expected):
        raise ValueError(f"{name} has other counts than {', '.join(expected)}")
    for key, value in counts.items():
        if not _is_count(value):
            raise ValueError(f"{key} of {name} is {value!r:.40}")


def _is_count(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value < 2**63
