"""Resuming a run: what its checkpoint brings along, and whether text and machine are still the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sunfish.checkpoint.folder import LAST, read_metadata
from sunfish.checkpoint.links import read_settled
from sunfish.checkpoint.metadata import PROMPT_TOKENIZER, TOKENIZER, metadata_of, verify
from sunfish.checkpoint.resuming import read_trainer
from sunfish.config import Config, DataConfig
from sunfish.config.data import STORIES
from sunfish.data.dataset import PreparedCorpus
from sunfish.data.sources import is_path
from sunfish.tokenizers import TextTokenizer
from sunfish.utils import UsageError


class Resumed(NamedTuple):
    """The checkpoint that a run is resumed from."""

    path: Path
    state: dict[str, Any]  # of the trainer
    tokenizer: TextTokenizer
    prompt_tokenizer: TextTokenizer | None  # None: prompts have the tokenizer of texts

    @property
    def prompt_table(self) -> Tensor | None:
        """The frozen embeddings of the prompt encoder, where it has some."""
        model = self.state.get("model")
        table = model.get("prompt_encoder.frozen_table") if isinstance(model, dict) else None
        return table if isinstance(table, Tensor) else None


def load_resumed(path: Path) -> Resumed:
    """Read all that a run needs to resume from the checkpoint that ``path`` means.

    Raises:
        ValueError: it is no checkpoint, is damaged, or has been pruned to its weights.
    """
    return read_settled(path, _load)


def _load(folder: Path) -> Resumed:
    metadata = metadata_of(folder)
    separate = PROMPT_TOKENIZER in metadata["files"]
    state = read_trainer(folder)
    verify(folder, metadata, (TOKENIZER, *([PROMPT_TOKENIZER] if separate else [])))
    prompt_tokenizer = TextTokenizer.load(folder / PROMPT_TOKENIZER) if separate else None
    return Resumed(folder, state, TextTokenizer.load(folder / TOKENIZER), prompt_tokenizer)


def check_folder(folder: Path, resumed: Resumed | None) -> None:
    """Refuse to train in the folder of a run where that would overwrite what the run has.

    Raises:
        ValueError: ``folder`` holds a run, and this is not it.
        UsageError: the run that is resumed has come further than the checkpoint.
    """
    last = folder / LAST
    if resumed is None or resumed.path.resolve().parent != folder.resolve():
        if folder.exists() and any(folder.glob("step-*")):
            raise ValueError(
                f"{folder} already holds a run. Resume it with --resume {last}, or choose another --name"
            )
        return
    try:
        newest = read_metadata(last)["step"]
    except ValueError:  # there is none, or it is damaged: then people resume from an earlier one
        return
    if newest > resumed.state["step"]:
        raise UsageError(
            f"{last} is at step {newest}, and resuming from step {resumed.state['step']} would replace it; "
            f"resume {last}, or give this branch a --name of its own"
        )


def find_data(corpus: DataConfig, resumed: Resumed) -> DataConfig:
    """The corpus of the run where it lies: at its path, or at the full path that the checkpoint records.

    Raises:
        ValueError: it is at neither.
    """
    if not is_path(corpus.data) or Path(corpus.data).expanduser().exists():
        return corpus
    recorded = resumed.state["corpus"]["path"]
    if recorded and Path(recorded).exists():
        return dataclasses.replace(corpus, data=recorded)
    raise ValueError(
        f"the run learned from {recorded or corpus.data}, which does not exist; if it has moved, give its "
        "new path: --data PATH"
    )


def corpus_record(config: Config, prepared: PreparedCorpus) -> dict[str, Any]:
    """What a checkpoint says of its corpus."""
    data = config.corpus.data
    splits = prepared.manifest["splits"].values()
    return {
        "path": str(Path(data).expanduser().absolute()) if is_path(data) else "",
        "digest": prepared.digest,
        "documents": sum(counts["documents"] for counts in splits),
        "tokens": sum(counts["tokens"] for counts in splits),
    }


def compare_corpus(old: dict[str, Any], new: dict[str, Any], config: Config, accepted: bool) -> str:
    """What has become of the text since the checkpoint was written; empty if nothing has.

    Args:
        old: the record of the checkpoint.
        new: that of the corpus, prepared with the tokenizer of the checkpoint.
        config: the run.
        accepted: whether other text is meant to be.

    Raises:
        ValueError: the text is another one, and ``accepted`` is false.
    """
    data = config.corpus.data
    if old["digest"] == new["digest"]:
        moved = old["path"] != new["path"]
        return f"the text that the run learned from is now at {new['path'] or data}" if moved else ""
    then, now = (
        f"{record['documents']:,} documents and {record['tokens']:,} tokens" for record in (old, new)
    )
    counts = f"{then} then, {now} now" if then != now else f"{now}, as before, but not the same ones"
    change = f"{data} is not the text that the run has learned from: {counts}"
    if accepted:
        return f"note: {change}; training continues on it with the checkpoint's tokenizer"
    remedy = "use the version of SunFish that began the run" if data == STORIES else "restore the text"
    raise ValueError(f"{change}; {remedy}, or give --data {data} to continue on what is there now")


def environment(device: torch.device, threads: int, dtype: torch.dtype) -> dict[str, Any]:
    """What decides the last digits of a loss besides the run itself."""
    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "precision": str(dtype).removeprefix("torch."),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def compare_environment(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What is different on this machine; empty if nothing is."""
    changes = [
        f"{name} {old[name]} -> {value}" for name, value in new.items() if old.get(name, value) != value
    ]
    if not changes:
        return ""
    return f"note: {', '.join(changes)} since the checkpoint: losses can differ in their last digits"
