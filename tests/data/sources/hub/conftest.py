"""A hub for each test, with a data set of two configurations and one without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.sources.hub.corpora import NAME, TABLE, one_table, two_configurations
from tests.sharing.hub_server import Hub, connected


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that `datasets` asks as well; it has two data sets."""
    import datasets  # it takes most of a second, which processes without these tests save

    with connected(monkeypatch, tmp_path) as server:
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
        monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
        server.add(f"datasets/{NAME}", two_configurations())
        server.add(f"datasets/{TABLE}", one_table())
        yield server
