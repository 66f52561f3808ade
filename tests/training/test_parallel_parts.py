"""Several processes on texts of very different lengths, whose batches are computed in parts: the numbers of one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sunfish.config import Config
from sunfish.config.data import DataConfig
from sunfish.training.parallel import parts_of
from sunfish.training.trainer import Trainer
from tests.training.launch import logged, processes, run_of, words_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals")]
STEPS = 12


def mixed_texts(folder: Path, name: str, **values: object) -> Config:
    """A run on few texts, from a few tokens to all of the context, so that no batch has similar lengths."""
    data = folder / "texts.txt"
    words = ("the cat", "a dog ran", "rain fell on the sea")
    texts = [f"{words[i % 3]} {i}. " * (1 + i % 9) for i in range(40)]
    data.write_text("\n\n".join(texts), encoding="utf-8")
    return run_of(folder, name, data=str(data), stories=DataConfig.stories, max_steps=STEPS, **values)


def test_parts_on_two_processes_learn_as_one(tmp_path: Path) -> None:
    """Sharded, so that a process with fewer parts than the other would wait forever."""
    alone = mixed_texts(tmp_path, "alone")
    trainer = Trainer(alone)
    split = [len(parts_of(trainer.batches.batch(step), alone.training)) for step in range(STEPS)]
    assert max(split) > 1
    trainer.run()
    two = mixed_texts(tmp_path, "two", parallel="fsdp")
    for process in processes(words_of(two), 2):
        _, log = process.communicate(timeout=120)
        assert process.returncode == 0, log
    expected = logged(alone.training.folder)
    assert len(expected) == STEPS and logged(two.training.folder) == pytest.approx(expected, abs=1e-5)
    padding = logged(alone.training.folder, "padding")
    assert logged(two.training.folder, "padding") == pytest.approx(padding)
