"""A checkpoint folder: written whole or not at all, read without unpickling, pruned without tearing readers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from sunfish.checkpoint.links import BEST, CONFIG, LAST, STATE, STEP_NAME, read_settled
from sunfish.checkpoint.metadata import (
    CARD,
    FORMAT,
    PROMPT_TOKENIZER,
    TOKENIZER,
    WEIGHTS,
    metadata_of,
    read_metadata,
    verify,
)
from sunfish.checkpoint.resuming import load_trainer
from sunfish.checkpoint.weights import load_model
from sunfish.config import Config
from sunfish.disk.json_file import seal
from sunfish.disk.lock import unused
from sunfish.disk.writing import discard, flush_tree, replace_folder, temporary_path, writing
from sunfish.model.transformer import Transformer
from sunfish.processes import build_process
from sunfish.tokenizers.base import TextTokenizer
from sunfish.types import Process
from sunfish.utils import file_sha256

__all__ = [
    "BEST",
    "LAST",
    "Checkpoint",
    "Shards",
    "load_checkpoint",
    "load_trainer",
    "prune_checkpoints",
    "read_metadata",
    "save_checkpoint",
    "save_for_inference",
]


class Checkpoint(NamedTuple):
    """What inference needs."""

    config: Config
    model: Transformer  # averaged weights, evaluation mode
    process: Process
    tokenizer: TextTokenizer
    prompt_tokenizer: TextTokenizer
    step: int
    path: Path  # the folder itself, where a link was given


class Shards(NamedTuple):
    """The part of a checkpoint that all processes of a run have written."""

    temporary: Path  # the folder that becomes the checkpoint
    hashes: Mapping[str, str]  # of their files, by name


def save_checkpoint(
    folder: Path,
    config: Config,
    model: Transformer,
    tokenizer: TextTokenizer,
    prompt_tokenizer: TextTokenizer | None,
    trainer: dict[str, Any],
    card: str,
    shards: Shards | None = None,
) -> Path:
    """Write ``folder``: ``model`` holds the weights for inference, ``trainer`` all that resuming needs.

    Everything goes to a temporary name, is hashed and flushed to disk, then renamed; a crash leaves either the
    whole folder or none, a failure leaves nothing.

    Args:
        folder: Where the checkpoint goes.
        config: The run.
        model: The network, its weights averaged.
        tokenizer: Of texts.
        prompt_tokenizer: Of prompts; None: that of texts.
        trainer: The state; of tensors that lie in ``shards`` it has the sizes, on the device ``meta``.
        card: The model card.
        shards: What processes have written already.

    Raises:
        WriteError: A file could not be written.
    """

    def write(temporary: Path) -> None:
        _write_model(temporary, model, tokenizer, prompt_tokenizer, card, torch.float32)
        # Through a file of Python's: by a name, PyTorch says that a write failed, but not why.
        with writing(temporary / STATE):
            (temporary / STATE).parent.mkdir(exist_ok=shards is not None)
            with (temporary / STATE).open("wb") as file:
                torch.save(trainer, file)

    return _write_whole(folder, config, trainer["step"], write, shards)


def save_for_inference(folder: Path, checkpoint: Checkpoint, card: str) -> Path:
    """Write ``folder``: a copy of ``checkpoint`` that samples but does not resume, its weights in float16.

    Raises:
        WriteError: A file could not be written.
    """
    separate = checkpoint.prompt_tokenizer is not checkpoint.tokenizer
    tokenizers = (checkpoint.tokenizer, checkpoint.prompt_tokenizer if separate else None)

    def write(temporary: Path) -> None:
        _write_model(temporary, checkpoint.model, *tokenizers, card, torch.float16)

    return _write_whole(folder, checkpoint.config, checkpoint.step, write)


def _write_whole(
    folder: Path, config: Config, step: int, write: Callable[[Path], None], shards: Shards | None = None
) -> Path:
    """Let ``write`` fill a temporary folder, add its ``config.json``, and rename it to ``folder``."""
    temporary, hashes = shards or (temporary_path(folder), {})
    try:
        with writing(temporary):
            temporary.mkdir(parents=True, exist_ok=shards is not None)
        write(temporary)
        files = {p.relative_to(temporary).as_posix(): p for p in sorted(temporary.rglob("*")) if p.is_file()}
        metadata = {
            "format": FORMAT,
            "step": step,
            "config": config.to_dict(),
            "files": {name: hashes.get(name) or file_sha256(file) for name, file in files.items()},
        }
        text = json.dumps(seal(metadata), indent=2) + "\n"
        with writing(temporary / CONFIG):
            (temporary / CONFIG).write_text(text, encoding="utf-8")
        flush_tree(temporary)
        replace_folder(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_model(
    folder: Path,
    model: Transformer,
    tokenizer: TextTokenizer,
    prompt_tokenizer: TextTokenizer | None,
    card: str,
    dtype: torch.dtype,
) -> None:
    """What inference reads, but ``config.json``; the weights in ``dtype``."""
    weights = {
        name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()
    }
    with writing(folder / WEIGHTS):
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    for name, part in ((TOKENIZER, tokenizer), (PROMPT_TOKENIZER, prompt_tokenizer)):
        if part is not None:
            with writing(folder / name):
                part.save(folder / name)
    with writing(folder / CARD):
        (folder / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint for inference; nothing is unpickled, and every file that is read is compared to its hash.

    Args:
        path: the folder, a link to it, or the folder of a run, which means its last checkpoint.
        device: where the model goes.

    Raises:
        ValueError: the folder is no checkpoint of this version, or is damaged.
    """
    return read_settled(path, lambda folder: _load(folder, device))


def _load(folder: Path, device: str | torch.device) -> Checkpoint:
    metadata = metadata_of(folder)
    separate = PROMPT_TOKENIZER in metadata["files"]
    verify(folder, metadata, (WEIGHTS, TOKENIZER, *([PROMPT_TOKENIZER] if separate else [])))
    config = Config.from_dict(metadata["config"])
    model = load_model(folder / WEIGHTS, config)
    tokenizer = TextTokenizer.load(folder / TOKENIZER)
    prompt_tokenizer = TextTokenizer.load(folder / PROMPT_TOKENIZER) if separate else tokenizer
    if tokenizer.size > config.model.vocab_size:
        raise ValueError(
            f"{folder / TOKENIZER} has {tokenizer.size} ids, but the network {config.model.vocab_size}; "
            "use an earlier checkpoint"
        )
    process = build_process(config.process, config.model.vocab_size)
    return Checkpoint(
        config,
        model.to(device).eval(),
        process.with_embeddings(model.token_embedding),
        tokenizer,
        prompt_tokenizer,
        metadata["step"],
        folder,
    )


def prune_checkpoints(folder: Path, keep: set[Path], every: int) -> None:
    """Delete the checkpoints of a run; one that somebody is reading stays until the next time.

    Args:
        folder: that of the run.
        keep: checkpoints that stay as they are.
        every: steps that are this times a power of two stay as milestones, less what only resuming needs.

    Raises:
        WriteError: the folder cannot be written.
    """
    for path in folder.glob("step-*"):
        if path in keep or not STEP_NAME.fullmatch(path.name) or not path.is_dir() or path.is_symlink():
            continue
        step = int(path.name.removeprefix("step-"))
        milestone = step % every == 0 and (step // every).bit_count() == 1
        doomed = (path / STATE).parent if milestone else path
        if not doomed.exists():
            continue
        with unused(path) as free:
            if free:
                discard(doomed)
