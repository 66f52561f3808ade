"""A checkpoint folder: written whole or not at all, read without unpickling, refused in plain words."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sunfish.config import Config
from sunfish.model.transformer import Transformer, build_model
from sunfish.processes import build_process
from sunfish.tokenizers.base import TextTokenizer
from sunfish.types import Process
from sunfish.utils import file_sha256

FORMAT = "sunfish-checkpoint-2"
LAST, BEST = "last.ckpt", "best.ckpt"
TRAIN_AFRESH = (
    "Move it to checkpoints_old_architecture/ and train afresh with ./start_training.sh (or: sunfish train)."
)
NAME_ONE = f"Give the folder of a checkpoint, such as checkpoints/{LAST}."


class Checkpoint(NamedTuple):
    """What inference needs."""

    config: Config
    model: Transformer  # averaged weights, evaluation mode
    process: Process
    tokenizer: TextTokenizer
    prompt_tokenizer: TextTokenizer
    step: int
    path: Path


def save_checkpoint(
    folder: Path,
    config: Config,
    model: Transformer,
    tokenizer: TextTokenizer,
    prompt_tokenizer: TextTokenizer | None,
    trainer: dict[str, Any],
    card: str,
) -> Path:
    """Write ``folder``: ``model`` holds the weights for inference, ``trainer`` all that resuming needs.

    Everything goes to a temporary name, is hashed and flushed to disk, then renamed; a crash leaves either the
    whole folder or none.
    """
    temporary = folder.with_name(folder.name + ".writing")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "trainer").mkdir(parents=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(temporary / "tokenizer.json")
    if prompt_tokenizer is not None:
        prompt_tokenizer.save(temporary / "prompt_tokenizer.json")
    (temporary / "README.md").write_text(card, encoding="utf-8")
    torch.save(trainer, temporary / "trainer" / "state.pt")
    files = sorted(p for p in temporary.rglob("*") if p.is_file())
    metadata = {
        "format": FORMAT,
        "step": trainer["step"],
        "config": config.to_dict(),
        "files": {str(p.relative_to(temporary)): file_sha256(p) for p in files},
    }
    (temporary / "config.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    for path in [*files, temporary / "config.json", temporary]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
    return folder


def update_symlink(link: Path, folder: Path) -> None:
    """Let the symbolic link ``link`` name ``folder``, in one step."""
    temporary = link.with_name(link.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
    temporary.replace(link)


def read_metadata(path: Path) -> dict[str, Any]:
    """The contents of ``config.json`` of a checkpoint folder, after checking that it is one.

    Raises:
        ValueError: the path is no checkpoint of this version; says what it is and what to do.
    """
    if not path.exists():
        raise ValueError(
            f"there is no checkpoint at {path}. Train one first: ./start_training.sh (or: sunfish train)"
        )
    expected = "a SunFish checkpoint is a folder with config.json and model.safetensors"
    if path.is_file():
        kind, old = _kind_of_file(path)
        raise ValueError(
            f"{path} is {kind}, but {expected}. It is left as it is. {TRAIN_AFRESH if old else NAME_ONE}"
        )
    if not (path / "config.json").is_file():
        if (path / LAST).exists():
            raise ValueError(
                f"{path} is the folder of a run; its last checkpoint is {path / LAST}: name that one"
            )
        names = ", ".join(sorted(p.name for p in path.iterdir())[:6]) or "nothing"
        raise ValueError(f"{path} is a folder that holds {names}, but {expected}. {NAME_ONE}")
    try:
        metadata = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as why:
        raise ValueError(f"{path / 'config.json'} is damaged ({why}); use an earlier checkpoint") from why
    version = metadata.get("format") if isinstance(metadata, dict) else None
    if version is None:
        raise ValueError(
            f"{path / 'config.json'} has no format entry, so {path} is no checkpoint. {NAME_ONE}"
        )
    if version != FORMAT:
        raise ValueError(
            f"{path} was written by another version of SunFish (format {version!r}), whose network this one does not "
            f"have (it reads {FORMAT!r}). {TRAIN_AFRESH}"
        )
    missing = [key for key in ("step", "config", "files") if key not in metadata]
    if missing:
        raise ValueError(f"{path / 'config.json'} is damaged (no {missing[0]!r}); use an earlier checkpoint")
    return dict(metadata)


def load_checkpoint(path: Path, device: str | torch.device = "cpu", verify: bool = True) -> Checkpoint:
    """Read a checkpoint for inference; nothing is unpickled.

    Args:
        path: the folder.
        device: where the model goes.
        verify: whether to check the hashes of the files first.

    Raises:
        ValueError: the folder is no checkpoint of this version, or is damaged.
    """
    metadata = read_metadata(path)
    if verify:
        optional = {"prompt_tokenizer.json"} & metadata["files"].keys()
        for name in ("model.safetensors", "tokenizer.json", *optional):
            if not (path / name).is_file() or file_sha256(path / name) != metadata["files"].get(name):
                raise ValueError(f"{path / name} is missing or damaged; use an earlier checkpoint")
    config = Config.from_dict(metadata["config"])
    try:
        weights = load_file(path / "model.safetensors")
    except SafetensorError as why:
        raise ValueError(f"{path / 'model.safetensors'} cannot be read: {why}") from why
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process, weights.get("prompt_encoder.frozen_table"))
    try:
        wrong = model.load_state_dict(weights, strict=False)
    except RuntimeError as why:  # the same names with other shapes
        raise ValueError(
            f"{path}: its weights do not fit its config.json: {first_mismatch(why)}. {TRAIN_AFRESH}"
        ) from why
    if wrong.missing_keys or wrong.unexpected_keys:
        raise ValueError(
            f"{path} holds the weights of another architecture: missing {wrong.missing_keys[:3]}, "
            f"unknown {wrong.unexpected_keys[:3]}. {TRAIN_AFRESH}"
        )
    tokenizer = TextTokenizer.load(path / "tokenizer.json")
    prompt_file = path / "prompt_tokenizer.json"
    prompt_tokenizer = TextTokenizer.load(prompt_file) if prompt_file.is_file() else tokenizer
    return Checkpoint(
        config,
        model.to(device).eval(),
        process.with_embeddings(model.token_embedding),
        tokenizer,
        prompt_tokenizer,
        metadata["step"],
        path,
    )


def first_mismatch(error: RuntimeError) -> str:
    """The first weight that ``load_state_dict`` could not place; PyTorch lists them all, a line each."""
    return str(error).splitlines()[1].strip().rstrip(".")


def load_trainer(path: Path) -> dict[str, Any]:
    """What :func:`save_checkpoint` kept for resuming; only tensors and plain values are unpickled.

    Raises:
        ValueError: the folder is no checkpoint, is damaged, or has been pruned to its weights.
    """
    metadata = read_metadata(path)
    state = path / "trainer" / "state.pt"
    if not state.is_file():
        raise ValueError(
            f"{path} can be sampled but not resumed: its trainer/state.pt was pruned; use {LAST}"
        )
    if file_sha256(state) != metadata["files"].get("trainer/state.pt"):
        raise ValueError(f"{state} is damaged (its hash differs); use an earlier checkpoint")
    return dict(torch.load(state, map_location="cpu", weights_only=True))


def prune_checkpoints(folder: Path, keep: set[Path], every: int) -> None:
    """Delete the checkpoints of a run.

    Args:
        folder: that of the run.
        keep: checkpoints that stay as they are.
        every: steps that are this times a power of two stay as milestones, less what only resuming needs.
    """
    for path in folder.glob("step-*"):
        if path in keep or not path.is_dir() or path.is_symlink():
            continue
        step = path.name.removeprefix("step-")
        milestone = step.isdigit() and int(step) % every == 0 and (int(step) // every).bit_count() == 1
        if milestone:
            shutil.rmtree(path / "trainer", ignore_errors=True)
        else:
            shutil.rmtree(path)


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
