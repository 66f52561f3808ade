"""What the tests of training share: runs that show samples without writing any."""

from __future__ import annotations

import pytest

from sunfish.training.trainer import Trainer


@pytest.fixture
def quick_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that are given: to write them takes most of a tiny run, and few tests ask for them."""
    monkeypatch.setattr(Trainer, "sample", lambda _: [("a prompt", "a text")])
