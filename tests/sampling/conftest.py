"""A tiny checkpoint and its pipeline, made once; not to be changed by a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.sampling.pipeline import Pipeline
from tests.tiny_checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny") / "step-0000100", steps=100)


@pytest.fixture(scope="session")
def pipeline(checkpoint: Path) -> Pipeline:
    return Pipeline.from_checkpoint(checkpoint)
