"""``config.json`` of a checkpoint: the configuration, a hash of every other file, and a hash of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sunfish.checkpoint.links import CONFIG, LAST, STATE, read_settled, resolve_checkpoint
from sunfish.config import Config
from sunfish.disk.json_file import SEAL, SHA256, is_sealed, read_json
from sunfish.utils import file_sha256

FORMAT = "sunfish-checkpoint-3"
WEIGHTS, TOKENIZER, PROMPT_TOKENIZER, CARD = (
    "model.safetensors",
    "tokenizer.json",
    "prompt_tokenizer.json",
    "README.md",
)
SAMPLING = "generation_config.json"  # settings of sampling that bench found; without a hash
FILES = (WEIGHTS, TOKENIZER, PROMPT_TOKENIZER, CARD, STATE)
OPTIONAL = frozenset((PROMPT_TOKENIZER, STATE))
# Where processes wrote the tensors of the trainer's state: a list of them, and the rows that each process held.
SHARD = re.compile(r"trainer/(\.metadata|__[0-9]{1,6}_0\.distcp)")
TRAIN_AFRESH = (
    "Move it to checkpoints_old_architecture/ and train afresh with ./start_training.sh (or: sunfish train)."
)
NAME_ONE = f"Give the folder of a checkpoint, such as checkpoints/{LAST}."
USE_EARLIER = "use an earlier checkpoint"


def read_metadata(path: Path) -> dict[str, Any]:
    """The contents of ``config.json`` of the checkpoint that ``path`` means, every value of it checked.

    Raises:
        ValueError: the path is no checkpoint of this version; says what it is and what to do.
    """
    return read_settled(path, metadata_of)


def metadata_of(folder: Path) -> dict[str, Any]:
    """As :func:`read_metadata`, for the folder itself."""
    _refuse_what_is_no_folder(folder)
    file = folder / CONFIG
    metadata = _parse(file)
    version = metadata.get("format") if isinstance(metadata, dict) else None
    if version is None:
        raise ValueError(f"{file} has no format entry, so {folder} is no checkpoint. {NAME_ONE}")
    if version != FORMAT:
        raise ValueError(
            f"{folder} was written by another version of SunFish (format {version!r:.40}), whose network this one "
            f"does not have (it reads {FORMAT!r}). {TRAIN_AFRESH}"
        )
    for key in ("step", "config", "files", SEAL):
        if key not in metadata:
            raise ValueError(f"{file} is damaged (no {key!r}); {USE_EARLIER}")
    if unknown := sorted(set(metadata) - {"format", "step", "config", "files", SEAL}):
        raise ValueError(f"{file} is damaged (no checkpoint has {unknown[0]!r:.40}); {USE_EARLIER}")
    if not is_sealed(metadata):
        raise ValueError(
            f"{file} was changed after it was written (its hash differs). To change a setting, give its flag to "
            f"--resume; otherwise {USE_EARLIER}"
        )
    unsealed = {key: value for key, value in metadata.items() if key != SEAL}
    try:
        _check_values(unsealed)
    except ValueError as why:
        raise ValueError(f"{file} is damaged ({why}); {USE_EARLIER}") from why
    return unsealed


def check_resumable(path: Path) -> None:
    """Refuse the checkpoint that ``path`` means where it has only what inference needs.

    Raises:
        ValueError: it has no trainer's state.
    """
    folder = resolve_checkpoint(path)
    if not (folder / STATE).is_file():
        raise ValueError(f"{folder} can be sampled but not resumed: it has no {STATE}; use {LAST}")


def verify(folder: Path, metadata: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Compare the hashes of files of a checkpoint.

    Raises:
        ValueError: a file is missing, is a link out of the folder, or does not have the content it was saved with.
    """
    for name in names:
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file} is missing or damaged; {USE_EARLIER}")
        if not file.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{file} is a link to {file.resolve()}, outside the checkpoint; put the file there"
            )
        if file_sha256(file) != metadata["files"].get(name):
            raise ValueError(f"{file} is missing or damaged (its hash differs); {USE_EARLIER}")


def _refuse_what_is_no_folder(path: Path) -> None:
    expected = f"a SunFish checkpoint is a folder with {CONFIG} and {WEIGHTS}"
    if path.is_file():
        kind, old = _kind_of_file(path)
        raise ValueError(
            f"{path} is {kind}, but {expected}. It is left as it is. {TRAIN_AFRESH if old else NAME_ONE}"
        )
    if not (path / CONFIG).is_file():
        names = ", ".join(sorted(p.name for p in path.iterdir())[:6]) or "nothing"
        raise ValueError(f"{path} is a folder that holds {names}, but {expected}. {NAME_ONE}")


def _parse(file: Path) -> Any:
    try:
        return read_json(file)
    except ValueError as why:
        raise ValueError(f"{file} is damaged ({why}); {USE_EARLIER}") from why


def _check_values(metadata: dict[str, Any]) -> None:
    """Refuse values that no checkpoint has, so that nothing is looked up, opened or allocated by them.

    Raises:
        ValueError: says which value is wrong.
    """
    step, files = metadata["step"], metadata["files"]
    if type(step) is not int or not 0 <= step < 2**63:
        raise ValueError(f"step is {step!r:.40}")
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise ValueError("files is no table of hashes")
    for name, value in files.items():
        if name not in FILES and not SHARD.fullmatch(name):
            raise ValueError(f"files names {name!r:.80}, which no checkpoint has")
        if not SHA256.fullmatch(value):
            raise ValueError(f"the hash of {name} is {value!r:.80}")
    if missing := [name for name in FILES if name not in files and name not in OPTIONAL]:
        raise ValueError(f"files lacks {missing[0]}")
    Config.from_dict(metadata["config"])


def _kind_of_file(path: Path) -> tuple[str, bool]:
    """What a file is, and whether an older program of this name wrote it."""
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        return (
            "a pickled PyTorch file, as older programs of this name wrote them (another architecture)",
            True,
        )
    return "an empty file" if not head else "a file of another kind", False
