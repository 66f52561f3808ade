"""Owns the folder of an export: ONNX graphs over one file of weights, tokenizers, settings, and a sampler."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sunfish.checkpoint.folder import Checkpoint, load_checkpoint
from sunfish.checkpoint.metadata import PROMPT_TOKENIZER, TOKENIZER
from sunfish.config import GenerationConfig
from sunfish.disk.writing import replace_folder, temporary_path, writing
from sunfish.export.int8 import quantize_graph
from sunfish.export.tracing import build_graphs, write_graphs
from sunfish.sampling.generation_config import read_generation_config
from sunfish.sampling.speculative import num_candidates
from sunfish.utils import UsageError, format_bytes, how_to_install, log

FORMAT = "sunfish-onnx-2"
PACKAGES = ("onnx", "onnxruntime")
SAMPLER, SETTINGS = "sample.py", "settings.json"
MAX_BYTES = 3 * 2**29  # of weights; the format ends at 2 GiB, and has the output table twice
SETTINGS_OF_SAMPLING = (
    *("sampler", "block_length", "temperature", "top_p", "lenience"),
    *("guidance_scale", "plausibility", "negative_prompt"),
)


def export_onnx(path: Path, folder: Path, *, int8: bool = False) -> Path:
    """Write the checkpoint ``path`` as ONNX graphs to a new ``folder``.

    Args:
        path: A checkpoint, as :func:`sunfish.checkpoint.folder.load_checkpoint` takes it.
        folder: There is none, or it is empty.
        int8: Weights of 8 bits; see :func:`sunfish.export.int8.quantize_graph`.

    Returns:
        The folder.

    Raises:
        UsageError: The folder holds something, or the checkpoint has a part that an export does not have.
        ImportError: The extra ``onnx`` is not installed.
        WriteError: A file could not be written.
    """
    check_packages()
    check_new(folder)
    checkpoint = load_for_export(path)
    with new_folder(folder) as temporary:
        write_model(temporary, checkpoint, int8)
    return folder


def check_packages() -> None:
    """Raise ``ImportError`` where a package of the extra is missing."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise ImportError(f"export needs {name}; install it with: {how_to_install('onnx')}")


def check_new(folder: Path) -> None:
    """Raise ``UsageError`` for a folder that holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; give a folder that does not exist")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` when all is written, and goes if something fails."""
    temporary = temporary_path(folder)
    try:
        with writing(folder):
            temporary.mkdir(parents=True)
            yield temporary
        replace_folder(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_for_export(path: Path) -> Checkpoint:
    """The checkpoint.

    Raises:
        UsageError: It has a part that the graphs do not have.
    """
    checkpoint = load_checkpoint(path)
    name = checkpoint.config.process.process
    if name != "masked":
        raise UsageError(
            f"process is {name}, but an export is for the process masked; sample this checkpoint with sunfish sample"
        )
    if checkpoint.model.guidance_embedding is not None:
        raise UsageError(
            f"{checkpoint.path} guides in one pass, but an export guides in two; export the checkpoint that taught it"
        )
    size = sum(value.nbytes for value in checkpoint.model.state_dict().values())
    if size > MAX_BYTES:
        raise UsageError(
            f"{checkpoint.path} has {format_bytes(size)} of weights, but an ONNX graph holds at most "
            f"{format_bytes(MAX_BYTES)}; export a smaller model"
        )
    return checkpoint


def write_model(folder: Path, checkpoint: Checkpoint, int8: bool) -> None:
    """Write all files of an export to an empty ``folder``."""
    graphs = build_graphs(checkpoint.model, checkpoint.tokenizer.size, folder)
    if int8:
        graphs = {name: quantize_graph(folder / f"{name}.onnx") for name in graphs}
    write_graphs(folder, graphs)
    write_companions(folder, checkpoint)


def write_companions(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the tokenizers, the settings and the sampler."""
    config, tokenizer = checkpoint.config.model, checkpoint.tokenizer
    tokenizer.save(folder / TOKENIZER)
    if checkpoint.prompt_tokenizer is not tokenizer:
        checkpoint.prompt_tokenizer.save(folder / PROMPT_TOKENIZER)
    settings = {
        "format": FORMAT,
        "context_length": config.context_length,
        "prompt_length": config.prompt_length,
        "mask_id": config.vocab_size,
        "candidates": num_candidates(tokenizer.size),
        "end": tokenizer.end,
        "cache": [config.n_layer + 1, config.n_head, config.n_embd // config.n_head],
        "sampling": sampling_settings(checkpoint.path),
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("standalone.py"), folder / SAMPLER)


def sampling_settings(path: Path) -> dict[str, Any]:
    """How the checkpoint is sampled best, as far as the sampler of an export can."""
    config = read_generation_config(path)
    if config.passes_per_round != 2 or config.composed_prompts:
        log(
            f"note: {path} suits the sampler {config.sampler}, but an export has verified; it gets the default settings"
        )
        config = GenerationConfig()
    return {name: asdict(config)[name] for name in SETTINGS_OF_SAMPLING}
