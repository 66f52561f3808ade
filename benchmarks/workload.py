"""Owns what the benchmarks train on: configurations, batches of a corpus, a corpus of full rows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.frame import Run
from benchmarks.smoke import SHAPE
from sunfish.commands.flags import DEFAULT
from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import PreparedCorpus
from sunfish.data.prepare.derived_prompts import PHRASINGS
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source

NEVER = 10**9
PROMPT_TOKENS = 16
DISTINCT_TOKENS = 1000
FIRST_CHARACTER = 0x4E00  # of a range of letters that is long enough
MIN_FULL_ROWS = 400


def config_of(run: Run, base: str = DEFAULT, /, **fields: Any) -> Config:
    """The preset that ``--config`` names, else ``base``.

    Args:
        run: Its flags of ``sunfish train`` win over ``fields``, and the shape of ``--smoke`` over all.
        base: The preset without ``--config``.
        fields: What this benchmark changes.
    """
    standard = {"device": str(run.device), "threads": run.threads, "seed": run.seed, "trackers": ()}
    smoke = SHAPE if run.smoke else {}
    return preset(run.preset_name or base, **{**fields, **standard, **run.fields, **smoke})


def prepared_corpus(config: Config) -> PreparedCorpus:
    """The corpus of a run, prepared now where it is not yet."""
    return prepare(open_source(config.corpus, config.training.seed), config)


def train_batches(prepared: PreparedCorpus, batch_size: int, seed: int) -> BatchLoader:
    """Training batches; the same for every network that is trained with this seed."""
    return BatchLoader(prepared.split("train"), batch_size, prepared.tokenizer.end, seed)


def held_out_batches(prepared: PreparedCorpus, batch_size: int) -> BatchLoader:
    """BatchLoader of the validation split."""
    return BatchLoader(prepared.split("validation"), batch_size, prepared.tokenizer.end, 0)


def full_rows(config: Config, folder: Path) -> Config:
    """The same run on a corpus in ``folder`` whose rows all fill the context, with prompts of 16 tokens.

    A step's work then depends on the configuration alone. The text is random characters, each one token.
    """
    shape, rng = config.model, random.Random(0)
    prompt = min(PROMPT_TOKENS, shape.prompt_length)
    # The tokenizer also learns the end mark and the letters of the phrasings of derived prompts.
    room = shape.vocab_size - 1 - len(set("".join(PHRASINGS)))
    alphabet = [chr(FIRST_CHARACTER + i) for i in range(min(room, DISTINCT_TOKENS))]
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(max(MIN_FULL_ROWS, 16 * config.training.batch_size)):
            text = "".join(rng.choices(alphabet, k=shape.context_length - 2))
            record = {"text": text, "prompt": text[:prompt]}
            file.write(json.dumps(record) + "\n")
    return config.with_fields(
        data=str(path),
        data_folder=str(folder / "data"),
        prompt_field="prompt" if prompt else "",
        tokenizer="characters",
        checkpoints=str(folder / "checkpoints"),
        eval_every=NEVER,
        save_minutes=0.0,
    )
