"""The script for SLURM: an array of machines, and a step after them; an sbatch of the tests takes its words."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from tests.conftest import ROOT

SCRIPT = ROOT / "deploy" / "slurm" / "prepare.sh"
SBATCH = """#!/bin/sh
printf '%s\\n' "$*" >> jobs
echo "17;cluster"
"""


def submit(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script beside an ``sbatch`` that notes the jobs it is given."""
    (folder / "sbatch").write_text(SBATCH)
    (folder / "sbatch").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHON": "python of mine"}
    done = subprocess.run([SCRIPT, *words], cwd=folder, env=environment, capture_output=True, text=True)
    jobs = folder / "jobs"
    return done, jobs.read_text().splitlines() if jobs.exists() else []


def test_machines_take_a_shard_each_and_the_last_step_waits_for_them(tmp_path: Path) -> None:
    done, jobs = submit(tmp_path, "4", "--data", "hf:a/b", "--prompt_template", "Tell {a b}")
    assert done.returncode == 0 and len(jobs) == 2, done.stderr
    command = [
        "exec",
        "python of mine",
        "-m",
        "sunfish",
        "data",
        "--data",
        "hf:a/b",
        "--prompt_template",
        "Tell {a b}",
    ]
    options, _, array = jobs[0].partition("--wrap=")
    assert "--array=0-3" in options and "--requeue" in options
    assert shlex.split(array) == [*command, "--shard", "$SLURM_ARRAY_TASK_ID/4"]
    options, _, last = jobs[1].partition("--wrap=")
    assert "--dependency=afterany:17 " in options and shlex.split(last) == command


def test_a_number_that_is_none_submits_nothing(tmp_path: Path) -> None:
    for words in (("0",), ("--data", "x"), ()):
        done, jobs = submit(tmp_path, *words)
        assert done.returncode != 0 and "the number of machines" in done.stderr and jobs == []
