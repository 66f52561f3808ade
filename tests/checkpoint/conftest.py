"""A checkpoint of a tiny model, new for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_checkpoint import write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole checkpoint in the folder of a run."""
    return write_checkpoint(tmp_path / "run" / "step-0000000")
