"""Pipelines of a tiny checkpoint and of drawn weights, made once; not to be changed by a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers import build_tokenizer
from tests.helpers import CONFIG, model, process_of
from tests.tiny_checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny") / "step-0000020", steps=20)


@pytest.fixture(scope="session")
def pipeline(checkpoint: Path) -> Pipeline:
    return Pipeline.from_checkpoint(checkpoint)


@pytest.fixture(scope="session")
def drawn_pipeline() -> Pipeline:
    """Every weight of its model matters: prompts, lengths and places in the text show in each letter."""
    tokenizer = build_tokenizer("characters", CONFIG.vocab_size, [" abcdefghiklmnoprstuw."])
    assert tokenizer.size == CONFIG.vocab_size
    return Pipeline(model(torch.float32), process_of(), tokenizer)
