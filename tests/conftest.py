"""What several tests share: a tiny trained checkpoint, made once, and a way to call the command line."""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

from sunfish.cli import main

# No test is timed.
hypothesis.settings.register_profile("tests", deadline=None, database=None, max_examples=50)
hypothesis.settings.load_profile("tests")
# A suite that nohup, a service or a shell's & started ignores these, and the program honors that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]
# Small enough to train in a second, and yet every part of a run takes place.
TINY = [
    *("--config", "nano", "--vocab_size", "400", "--n_layer", "1", "--n_head", "1", "--n_embd", "16"),
    *("--context_length", "96", "--batch_size", "4", "--set", "corpus.stories=100"),
    *(
        "--set",
        "training.eval_texts=4",
        "--threads",
        "1",
        "--cpu",
        "--no-preflight",
        "--precision",
        "float32",
    ),
]


class Workplace(NamedTuple):
    """A folder with ``data`` and ``checkpoints`` of one tiny run."""

    folder: Path
    checkpoint: Path


def pytest_sessionstart() -> None:
    """Forget what an earlier session of this process has cached, which hides from mutmut what a mutant changes."""
    modules = [
        module for name, module in sys.modules.items() if name.partition(".")[0] in ("sunfish", "tests")
    ]
    owners = [
        *modules,
        *(kind for module in modules for kind in vars(module).values() if isinstance(kind, type)),
    ]
    for value in (value for owner in owners for value in list(vars(owner).values())):
        function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if isinstance(function, functools._lru_cache_wrapper):
            function.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage in collecting, where nearly all that is made stays, and seldom in tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """No test waits for the disk: what a power cut would leave of a file is nothing that a test can see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which refuses what is no open file
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A run of three steps; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("trained")
    places = ["--checkpoints", str(folder / "checkpoints"), "--data_folder", str(folder / "data")]
    code = main(["train", *TINY, "--name", "trained", "--max_steps", "3", *places])
    assert code == 0
    return Workplace(folder, folder / "checkpoints" / "last.ckpt")


def python(*words: str, cwd: Path = ROOT, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run this Python in a process of its own, as a user would."""
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=timeout)
