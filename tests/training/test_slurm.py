"""The SLURM script: what it starts, and when it asks for another turn; srun and scontrol are stand-ins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "deploy" / "slurm" / "train.sh"
SRUN = 'echo "$MASTER_ADDR $MASTER_PORT $OMP_NUM_THREADS: $*"; exit $CODE'
SCONTROL = 'if [ "$1" = show ]; then printf "gpu07\\ngpu08\\n"; else echo "scontrol $*"; fi'


def run(folder: Path, code: int, restarts: int = 0) -> tuple[int, list[str]]:
    """Exit code and output of the script where ``srun`` exits with ``code``."""
    for name, body in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "15042", "SLURM_JOB_NODELIST": "gpu[07-08]", "SLURM_CPUS_PER_TASK": "8"}
    environment = {**os.environ, **job, "SLURM_RESTART_COUNT": str(restarts), "CODE": str(code)}
    environment["PATH"] = f"{folder}:{environment['PATH']}"
    environment.pop("OMP_NUM_THREADS", None)
    words = ["bash", str(SCRIPT), "--config", "full"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=20)
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_every_task_trains_and_resumes(tmp_path: Path) -> None:
    code, lines = run(tmp_path, 0)
    assert code == 0
    assert lines == [
        "gpu07 15042 8: --kill-on-bad-exit=1 python -m sunfish train --resume auto --config full"
    ]


@pytest.mark.parametrize(
    ("code", "restarts", "is_requeued"),
    [
        (138, 99, True),  # SIGUSR1: the time limit is near, however often
        (1, 3, True),
        (137, 9, True),  # a process was killed
        (143, 9, True),  # and srun has ended the others
        (1, 10, False),
        (2, 0, False),
        (143, 10, False),
    ],
)
def test_it_is_requeued_while_that_helps(tmp_path: Path, code: int, restarts: int, is_requeued: bool) -> None:
    exit_code, lines = run(tmp_path, code, restarts)
    assert ("scontrol requeue 15042" in lines) == is_requeued
    assert exit_code == (0 if is_requeued else code)
