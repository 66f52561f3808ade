"""Owns results.jsonl: one line a result, appended by the frame and read by the tables."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().with_name("results.jsonl")
KEPT_PARTS = 2  # of a path outside the project: the rest is of no use on another machine


@dataclass(frozen=True)
class Result:
    """One line of results.jsonl."""

    date: str  # ISO 8601, UTC
    commit: str  # ends in -dirty where the tree had changes that no commit has
    machine: dict[str, Any]  # processor, cores, device, threads, dtype, torch
    command: str  # what measures it again
    name: str  # of the benchmark, such as speed/training_rate
    case: dict[str, Any]  # what was measured: model, sampler, guidance, ...
    figures: dict[str, float | None]  # None: not defined, such as a ratio to 0

    def line(self) -> str:
        """The JSON of one line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def append_result(path: Path, result: Result) -> None:
    """Add one line to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(result.line() + "\n")


def read_results(path: Path = RESULTS) -> list[Result]:
    """All results, oldest first; none where there is no file.

    Raises:
        ValueError: A line is no result.
    """
    if not path.exists():
        return []
    results = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            results.append(Result(**json.loads(line)))
        except (ValueError, TypeError) as why:
            raise ValueError(f"{path.name}, line {number} is no result ({why}); delete the line") from why
    return results


def matches(result: Result, name: str, case: Mapping[str, Any]) -> bool:
    """Whether the result is of the benchmark ``name`` and has every entry of ``case``."""
    return result.name == name and all(
        key in result.case and result.case[key] == value for key, value in case.items()
    )


def latest(results: Sequence[Result], name: str, case: Mapping[str, Any]) -> Result | None:
    """The newest result of this benchmark and case."""
    return next((result for result in reversed(results) if matches(result, name, case)), None)


def current_commit(root: Path = ROOT) -> str:
    """The short hash of the tree, with -dirty where it has changes; "unknown" outside of git.

    The results themselves do not count as changes: each line would make the next one dirty.
    """

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results.jsonl"
        )
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def command_line(name: str, words: Sequence[str]) -> str:
    """The command that measures the benchmark ``name`` again, its paths free of this machine's folders."""
    return shlex.join(["./run.sh", f"benchmarks/{name}.py", *map(_portable, words)])


def _portable(word: str) -> str:
    path = Path(word)
    if not path.is_absolute():
        return word
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return "/".join(path.parts[1:][-KEPT_PARTS:])
