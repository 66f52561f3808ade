"""The folder of a run: what is never overwritten, what stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.training.trainer import train
from tests.runs import config

pytestmark = pytest.mark.usefixtures("quick_samples")


def test_a_second_run_never_overwrites_the_first(tmp_path: Path) -> None:
    settings = config(tmp_path, name="twice", max_steps=3)
    train(settings)
    with pytest.raises(ValueError, match=r"twice already holds a run.*--resume"):
        train(settings)


def test_resuming_a_finished_run_leaves_its_checkpoint_alone(tmp_path: Path) -> None:
    settings = config(tmp_path, name="done", max_steps=3)
    last = train(settings)
    before = (last / "config.json").stat()
    assert train(settings, tmp_path / "ck/done/last.ckpt") == last
    after = (last / "config.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
