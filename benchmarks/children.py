"""Owns child processes whose seconds and peak memory are measured."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

RSS_UNIT = 1024 if sys.platform == "linux" else 1  # of ru_maxrss: KiB on Linux, bytes on macOS
SHOWN_LINES = 5  # of a failed child's stderr


class Child(NamedTuple):
    """What one process took and printed."""

    seconds: float
    peak_bytes: float
    stdout: str


def run_child(words: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Child:
    """Run a process to its end.

    Args:
        words: The command.
        cwd: Its working folder; None: this one.
        env: Changes to the environment.

    Raises:
        ValueError: It failed; the message has the end of its stderr.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.perf_counter()
        process = subprocess.Popen(words, cwd=cwd, env={**os.environ, **(env or {})}, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            tail = "\n".join(err.read().decode(errors="replace").splitlines()[-SHOWN_LINES:])
            raise ValueError(f"{' '.join(map(str, words[:4]))} … ended with {process.returncode}: {tail}")
        return Child(seconds, float(usage.ru_maxrss) * RSS_UNIT, out.read().decode())
