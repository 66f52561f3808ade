"""A hub for each test, a cache of its own, and a tiny model to share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sunfish.sampling.hub_pipeline import write_model
from tests.sharing.hub_server import Files, Hub, connected
from tests.tiny_checkpoint import write_checkpoint

NAME = "user/robots"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client asks."""
    with connected(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the stories after a moment of training; not to be changed by a test."""
    return write_checkpoint(tmp_path_factory.mktemp("shared") / "step-0000003", steps=3)


@pytest.fixture(scope="package")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a push of the checkpoint uploads; not to be changed by a test."""
    path = tmp_path_factory.mktemp("repository")
    write_model(checkpoint, path, NAME)
    return path


@pytest.fixture(scope="package")
def files(folder: Path) -> Files:
    """The files of the folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def shared(hub: Hub, files: Files) -> Hub:
    """A hub that has the model."""
    hub.add(NAME, {".gitattributes": b"*.safetensors filter=lfs\n", **files})
    return hub
