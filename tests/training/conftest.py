"""A corpus of stories that is prepared once for all runs that are watched."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prepared_stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the prepared data."""
    return tmp_path_factory.mktemp("prepared-stories")
