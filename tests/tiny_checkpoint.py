"""A tiny model of the built-in stories, trained for a moment without the trainer, as a checkpoint folder."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sunfish.checkpoint.folder import save_checkpoint
from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.data.stories.generate import Story, story
from sunfish.disk.json_file import seal
from sunfish.model.transformer import Transformer, build_model
from sunfish.processes import build_process
from sunfish.rng import make_generator
from sunfish.tokenizers import TextTokenizer, build_tokenizer
from sunfish.training.loss import training_loss
from sunfish.types import Batch
from sunfish.utils import file_sha256

CONFIG = preset("nano", vocab_size=400, n_layer=1, n_head=1, n_embd=16, context_length=96, batch_size=4)


@functools.cache
def stories(count: int = 200) -> list[Story]:
    """The first stories of the training split."""
    return [story(0, "train", index) for index in range(count)]


@functools.cache
def story_tokenizer() -> TextTokenizer:
    """BPE over the prompts and texts of :func:`stories`; it fills the vocabulary of CONFIG."""
    return build_tokenizer("bpe", CONFIG.model.vocab_size, [part for s in stories() for part in s[:2]])


def story_batch(first: int, rows: int) -> Batch:
    """Stories ``first .. first + rows - 1`` as a training batch, cut to the context."""
    tokenizer, length = story_tokenizer(), CONFIG.model.context_length
    x0 = torch.full((rows, length), tokenizer.end)
    lengths = torch.zeros(rows, dtype=torch.long)
    prompt = torch.zeros(rows, CONFIG.model.prompt_length, dtype=torch.long)
    mask = torch.zeros(rows, CONFIG.model.prompt_length, dtype=torch.bool)
    for row in range(rows):
        example = stories()[(first + row) % len(stories())]
        ids = tokenizer.encode(example.text)[: length - 2]
        x0[row, 1 : 1 + len(ids)] = torch.tensor(ids)
        lengths[row] = len(ids) + 2
        words = tokenizer.encode(example.prompt)[: prompt.shape[1]]
        prompt[row, : len(words)] = torch.tensor(words)
        mask[row, : len(words)] = True
    return Batch(x0, lengths, prompt, mask)


def train_on_stories(config: Config, steps: int) -> Transformer:
    """A model after ``steps`` steps of Adam on the stories, in evaluation mode."""
    process = build_process(config.process, config.model.vocab_size)
    model = build_model(config, process).init_weights(make_generator("tiny"))
    process = process.with_embeddings(model.token_embedding)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(steps):
        batch, generator = story_batch(step * 4, 4), make_generator("tiny", step)
        block_length = (4, 16, config.model.context_length)[step % 3]
        losses = training_loss(model, process, batch, generator, block_length, config.training)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def trainer_state(step: int) -> dict[str, Any]:
    """The part of a trainer's state that reading it requires."""
    corpus = {"path": "", "digest": "", "documents": 0, "tokens": 0}
    return {"step": step, "corpus": corpus, "environment": {}}


def write_checkpoint(folder: Path, config: Config = CONFIG, steps: int = 0) -> Path:
    """Train for ``steps`` steps and save; returns the checkpoint's folder."""
    model = train_on_stories(config, steps)
    return save_checkpoint(
        folder, config, model, story_tokenizer(), None, trainer_state(steps), "# A tiny model\n"
    )


def edit_metadata(checkpoint: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``config.json`` and its hash of itself, as someone would who means harm."""
    path = checkpoint / "config.json"
    metadata = json.loads(path.read_text())
    del metadata["sha256"]
    change(metadata)
    path.write_text(json.dumps(seal(metadata)))


def record_hash(checkpoint: Path, name: str) -> None:
    """Let ``config.json`` expect the present content of a file."""
    digest = file_sha256(checkpoint / name)
    edit_metadata(checkpoint, lambda metadata: metadata["files"].update({name: digest}))
