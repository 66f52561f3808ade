"""Owns runs of several processes that take steps when they are told to, so that runs can take turns."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any, NamedTuple, Self

from benchmarks.children import SHOWN_LINES
from benchmarks.rank_steps import LINK, LINK_NUMBERS
from benchmarks.results import ROOT
from sunfish.config import Config
from sunfish.training.communication import Link


class Steps(NamedTuple):
    """What some steps took in one process.

    Attributes:
        seconds: by the wall clock, from the moment at which all processes were ready.
        cpu_seconds: user and system time of the process; waiting for another one takes none.
        tokens: of the whole batch.
        losses: of each step.
        sent_bytes: to the other processes; 0 where the system does not say.
        peak_bytes: the largest resident size so far.
    """

    seconds: float
    cpu_seconds: float
    tokens: int
    losses: list[float]
    sent_bytes: int
    peak_bytes: float


class RankedRun:
    """A run of ``size`` processes with a trainer each; a context manager that ends them."""

    def __init__(self, config: Config, size: int) -> None:
        """Start the processes, which talk over the loopback device."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the processes end)
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(size)}
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))}
        words = [sys.executable, "-m", "benchmarks.rank_steps", json.dumps(config.to_dict())]
        self._processes = [
            subprocess.Popen(
                words,
                env={**os.environ, **place, **paths, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
            for rank in range(size)
        ]

    def steps(self, count: int) -> list[Steps]:
        """Take ``count`` steps.

        Returns:
            What they took in each process, in the order of ranks.

        Raises:
            ValueError: A process has ended; the message has the end of what the run said.
        """
        return [Steps(**answer) for answer in self._ask(str(count))]

    def link(self) -> Link:
        """What an all-reduce of the processes takes: of one number, and of many."""
        seconds = self._ask(LINK)[0]
        ring = (len(self._processes) - 1) / len(self._processes)
        transfer = max(seconds[str(LINK_NUMBERS)] - seconds["1"], 1e-9)
        hops = 2 * math.log2(len(self._processes))
        return Link(2 * 4 * LINK_NUMBERS * ring / transfer, seconds["1"] / hops, reduce_scatters=False)

    def _ask(self, order: str) -> list[dict[str, Any]]:
        """Give an order to all processes; their answers."""
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(f"{order}\n")
                process.stdin.flush()
            except BrokenPipeError:
                raise self._failure(process) from None
        return [self._answer(process) for process in self._processes]

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise self._failure(process)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failure(self, process: subprocess.Popen[str]) -> ValueError:
        code = process.wait()
        self._errors.seek(0)
        tail = "\n".join(self._errors.read().decode(errors="replace").splitlines()[-SHOWN_LINES:])
        return ValueError(f"rank {self._processes.index(process)} ended with {code}: {tail}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if error is not None:
                process.kill()
            process.communicate()
        self._errors.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
