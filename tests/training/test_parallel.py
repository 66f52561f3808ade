"""Several processes: the numbers of one, whatever their number; how they end together, and resume."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sunfish.checkpoint.folder import LAST, load_trainer, read_metadata
from sunfish.training.trainer import train
from tests.conftest import python
from tests.training.launch import TORCHRUN, logged, processes, run_of, wait_for, words_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parallel")


@pytest.fixture(scope="module")
def alone(workplace: Path) -> dict[int, float]:
    """The loss of each of 50 steps in one process."""
    run = run_of(workplace, "alone")
    train(run)
    return logged(run.training.folder)


def same(losses: dict[int, float], expected: dict[int, float], first: int = 1) -> None:
    """The steps from ``first`` to the last have the expected losses."""
    steps = range(first, 51)
    assert [losses[step] for step in steps] == pytest.approx([expected[step] for step in steps], abs=1e-5)


def outcome(started: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and log of each process."""
    logs = [process.communicate(timeout=300)[1] for process in started]
    return [(process.returncode, log) for process, log in zip(started, logs, strict=True)]


def test_processes_learn_as_one(workplace: Path, alone: dict[int, float]) -> None:
    """By torchrun, two texts at a time; the log, the checkpoint and the output are those of one process."""
    run = run_of(workplace, "two", gradient_accumulation=2)
    done = python(*TORCHRUN, "2", "-m", "sunfish", *words_of(run))
    assert done.returncode == 0, done.stderr
    same(logged(run.training.folder), alone)
    assert logged(run.training.folder, "tokens") == logged(run.training.folder.with_name("alone"), "tokens")
    assert logged(run.training.folder, "validation/bound")[50] == pytest.approx(
        logged(run.training.folder.with_name("alone"), "validation/bound")[50], abs=1e-4
    )
    assert done.stdout == f"{run.training.folder / 'step-0000050'}\n"
    assert done.stderr.count("from step 0") == 1 and "(1 threads, float32, 2 processes)" in done.stderr


def test_a_signal_to_any_process_saves_and_ends_all(workplace: Path, alone: dict[int, float]) -> None:
    """As SLURM sends it; the run then resumes on another number of processes, one."""
    run, signum = run_of(workplace, "signal"), signal.SIGUSR1
    started = processes(words_of(run), 2)
    wait_for(lambda: len(logged(run.training.folder)) > 5)
    started[1].send_signal(signum)
    (main, log), (other, silence) = outcome(started)
    assert main == other == 128 + signum
    assert f"stopped by {signum.name}; resume with --resume" in log and "Traceback" not in log + silence
    step = read_metadata(run.training.folder / LAST)["step"]
    assert 5 < step < 50 and step == max(logged(run.training.folder))
    train(run, run.training.folder / LAST)
    same(logged(run.training.folder), alone)


def test_a_process_that_is_killed_ends_the_others(workplace: Path, alone: dict[int, float]) -> None:
    """One line says so; the run resumes from its last checkpoint in one process."""
    run = run_of(workplace, "killed", eval_every=4)
    started = processes(words_of(run), 2)
    wait_for(lambda: len(logged(run.training.folder)) > 9)
    started[1].kill()
    codes, logs = zip(*outcome(started), strict=True)
    assert codes == (1, -signal.SIGKILL)
    assert "rank 0: error: another process of this run has ended" in logs[0].splitlines()[-1]
    assert "Traceback" not in logs[0]
    step = read_metadata(run.training.folder / LAST)["step"]
    assert 8 <= step < 50
    train(run, run.training.folder / LAST)
    same(logged(run.training.folder), alone, first=step + 1)


def test_sharded_processes_learn_as_one(workplace: Path, alone: dict[int, float]) -> None:
    """Two that hold a part of each weight save; one that holds them all resumes, and so do four."""
    run = run_of(workplace, "sharded", parallel="fsdp", activation_checkpointing=True)
    started = processes(words_of(run), 2)
    wait_for(lambda: len(logged(run.training.folder)) > 9)
    started[1].send_signal(signal.SIGTERM)
    assert [code for code, _ in outcome(started)] == [128 + signal.SIGTERM] * 2
    last = run.training.folder / LAST
    step = read_metadata(last)["step"]
    assert 9 < step < 50
    whole = run_of(workplace, "whole")
    train(whole, last)
    same(logged(whole.training.folder), alone, first=step + 1)
    assert [code for code, _ in outcome(processes(words_of(run, "--resume", str(last)), 4))] == [0] * 4
    same(logged(run.training.folder), alone)
    four, one = (load_trainer(folder.training.folder / LAST) for folder in (run, whole))
    for name, weight in one["model"].items():
        torch.testing.assert_close(four["model"][name], weight, atol=1e-5, rtol=1e-4, msg=name)
