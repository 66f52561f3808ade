"""Starts a tiny run on several processes, as ``torchrun`` or ``srun`` does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sunfish.config import Config
from tests.runs import config

# Runs the command line, and fails where a thread that spoke with the others outlives a run that ends in order: such a
# thread may abort the process while Python shuts down.
PROGRAM = """
import sys
from pathlib import Path
from sunfish.cli import main
code = main(sys.argv[1:])
threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
left = code != 1 and any("gloo" in name for name in threads)
sys.exit(f"threads are left: {threads}" if left else code)
"""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


def run_of(folder: Path, name: str, **values: object) -> Config:
    """A run of 50 steps with 8 texts each, whose prompts are often dropped."""
    fields: dict[str, object] = {"batch_size": 8, "max_steps": 50, "prompt_dropout": 0.3, "save_minutes": 0.0}
    return config(folder, name=name, **{**fields, **values})


def words_of(run: Config, *words: str) -> list[str]:
    """The words after ``sunfish`` that train ``run``."""
    settings = [
        word
        for group in ("model", "corpus", "training")
        for name, value in run.to_dict()[group].items()
        if name != "teacher"
        for word in ("--set", f"{group}.{name}={_written(value)}")
    ]
    return ["train", "--config", "nano", "--no-preflight", *settings, *words]


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def processes(words: Sequence[str], size: int) -> list[subprocess.Popen[str]]:
    """``sunfish`` with ``words`` as the ``size`` tasks of a SLURM step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(size):
        place = {"SLURM_PROCID": rank, "SLURM_NTASKS": size, "SLURM_LOCALID": rank}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        environment = {**os.environ, **{name: str(value) for name, value in (place | where).items()}}
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *words], env=environment, stdout=pipe, stderr=pipe, text=True
            )
        )
    return started


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Return when ``condition`` holds.

    Raises:
        TimeoutError: it does not.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"it does not hold after {seconds:g} s")
        time.sleep(0.02)


def logged(folder: Path, name: str = "loss") -> dict[int, float]:
    """A figure of each step, as the run in ``folder`` logged it last; a line that is being written is left out."""
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return {record["step"]: record[name] for record in records if name in record}
