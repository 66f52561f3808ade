"""A checkpoint of a tiny model, a new copy for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny_checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one that is copied."""
    return write_checkpoint(tmp_path_factory.mktemp("untouched") / "step-0000000")


@pytest.fixture
def checkpoint(tmp_path: Path, untouched: Path) -> Path:
    """A whole checkpoint in the folder of a run."""
    return Path(shutil.copytree(untouched, tmp_path / "run" / untouched.name))
