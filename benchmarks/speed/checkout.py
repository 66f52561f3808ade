"""Owns running the benchmarks of a checkout, this one or an older one, in processes of its own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.children import run_child
from sunfish.utils import UsageError

STEP = re.compile(r"a step: [\d,.]+ ms, ([\d,]+) tokens/s")
MEMORY = re.compile(r"memory: ([\d,]+) MiB at most")


class Speed(NamedTuple):
    """Tokens a second, and peak memory where the benchmark reports it."""

    tokens_per_second: float
    peak_mib: float | None = None


class Checkout(NamedTuple):
    """A tree of SunFish. Its children run in ``folder``, so that nothing is written into the tree."""

    root: Path
    folder: Path

    @property
    def frames(self) -> bool:
        """Whether its benchmarks have this frame, and so ``--json``."""
        return (self.root / "benchmarks" / "frame.py").is_file()

    def script(self, name: str) -> Path:
        """A benchmark of this checkout, by its file's name.

        Raises:
            UsageError: It has none of this name.
        """
        for path in (
            self.root / "benchmarks" / "speed" / f"{name}.py",
            self.root / "benchmarks" / f"{name}.py",
        ):
            if path.is_file():
                return path
        raise UsageError(f"{self.root} has no benchmark {name}.py; give the root of a checkout of SunFish")

    def python(self, *words: str) -> str:
        """The stdout of this Python on the checkout's code."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = f"{self.root / 'src'}:{self.root}"
        return run_child([sys.executable, *words], self.folder, {"PYTHONPATH": path}).stdout

    def train(self, words: list[str]) -> Path:
        """Train with the flags ``words`` of ``sunfish train``; returns the checkpoint."""
        self.python("-m", "sunfish", "train", "--no-preflight", "--checkpoints", "checkpoints", *words)
        return self.folder / "checkpoints" / "last.ckpt"

    def training_rate(self, words: list[str], mean: bool = False) -> Speed:
        """Of training_rate with the flags ``words``; by the ``mean`` of its steps, or their median."""
        script = str(self.script("training_rate"))
        if self.frames:
            figures = json.loads(self.python(script, *words, "--json", "--no-record"))["results"][0][
                "figures"
            ]
            return Speed(
                figures["mean_tokens_per_second" if mean else "tokens_per_second"], figures["peak_mib"]
            )
        return parse_training_rate(self.python(script, *words))

    def sampling_speed(self, words: list[str]) -> dict[str, Speed]:
        """Of the benchmark sampling_speed with the flags ``words``, by sampler."""
        script = str(self.script("sampling_speed"))
        if self.frames:
            results = json.loads(self.python(script, *words, "--json", "--no-record"))["results"]
            speeds = {r["case"]["sampler"]: Speed(r["figures"]["tokens_per_second"]) for r in results}
            return {name: speed for name, speed in speeds.items() if not name.startswith("llama")}
        return parse_sampling_speed(self.python(script, *words))


def parse_training_rate(text: str) -> Speed:
    """The figures of a training_rate that prints prose: by the mean of its steps.

    Raises:
        ValueError: They are not there.
    """
    step, memory = STEP.search(text), MEMORY.search(text)
    if step is None or memory is None:
        raise ValueError(f"training_rate printed no figures that are known: {text[:200]!r}")
    return Speed(_number(step[1]), _number(memory[1]))


def parse_sampling_speed(text: str) -> dict[str, Speed]:
    """The samplers' tokens/s of a sampling_speed that prints a table with a column for each form of the peer.

    Raises:
        ValueError: There is no such table.
    """
    lines = text.splitlines()
    heads = [number for number, line in enumerate(lines) if "tokens/s" in line.split()]
    if not heads:
        raise ValueError(f"sampling_speed printed no table that is known: {text[:200]!r}")
    column = lines[heads[0]].split().index("tokens/s") + 1  # the sampler's column has no head
    rows = [line.split() for line in lines[heads[0] + 1 :] if line.strip()]
    return {row[0]: Speed(_number(row[column])) for row in rows if row[0] != "Llama"}


def _number(text: str) -> float:
    return float(text.replace(",", ""))
