"""Owns the claim: the tests notice nine wrong edits of ten, and more where wrong numbers would go unseen.

    ./run.sh benchmarks/robustness/mutation_score.py
    ./run.sh benchmarks/robustness/mutation_score.py --only "sunfish.processes.*"

mutmut makes every mutant of src/sunfish but the story texts (a changed operator, number, argument, string or
branch) in a clone of the last commit. Of these a seeded sample is tried, each with the fast tests that reach its
function. ``killed``: a test fails, or runs five times as long as it should. Survivors are printed; the clone
stays, and there ``mutmut show NAME`` shows the edit. With ``--only``, the sample is of mutants of these names;
with ``--survivors``, only those are tried again that were not killed before, by the tests as they are now.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.results import ROOT
from benchmarks.smoke import smoke_folder
from sunfish.utils import UsageError

MUTANTS = 400
FOLDER = ROOT / "build" / "mutation"
# The first run makes all mutants and learns which tests reach which. It must try some; few tests reach these four.
CHEAP = "sunfish.sampling.unmasking.leftmost.*"
ALL = "all"
STDERR = 2  # file descriptor: what mutmut says is no result
KILLED = ("killed", "timeout", "segfault")


class Mutant(NamedTuple):
    """A mutant by mutmut's name, such as ``sunfish.rng.x_softmax__mutmut_2``, and how its tests ended."""

    name: str
    verdict: str

    @property
    def package(self) -> str:
        """The package or module of ``sunfish`` that it is in."""
        return self.name.split(".")[1]


SMOKE_FILES = {
    "pyproject.toml": '[tool.mutmut]\nsource_paths = ["src/sunfish"]\n',
    "src/sunfish/__init__.py": "",
    "src/sunfish/sampling/unmasking/leftmost.py": "def double(x: int) -> int:\n    return x + x\n",
    "tests/test_leftmost.py": (
        "from sunfish.sampling.unmasking.leftmost import double\n\n\n"
        "def test() -> None:\n    assert double(3) == 6\n"
    ),
}


def write_smoke_project(folder: Path) -> None:
    """A project of one function and one test in ``folder``."""
    for name, text in SMOKE_FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def clone(folder: Path) -> None:
    """The last commit in ``folder``; an older clone is brought up to date, and mutmut notices what has changed."""
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        return
    subprocess.run(["git", "fetch", "--quiet", str(ROOT), "HEAD"], cwd=folder, check=True)
    subprocess.run(["git", "reset", "--quiet", "--hard", "FETCH_HEAD"], cwd=folder, check=True)


def mutmut(folder: Path, names: Sequence[str], processes: int) -> None:
    """Try these mutants in ``folder``, after making all mutants if there are none.

    Raises:
        ValueError: mutmut fails, which it says itself.
    """
    words = [sys.executable, "-m", "mutmut", "run", "--max-children", str(processes), *names]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)  # what is imported must be the mutants
    done = subprocess.run(words, cwd=folder, env=environment, stdout=STDERR)
    if done.returncode:
        raise ValueError(f"mutmut ended with exit code {done.returncode} in {folder}; it says why above")


def try_again(folder: Path, names: Sequence[str], processes: int) -> None:
    """Try these mutants. Where tests are new, mutmut runs pytest twice in one process, which finds no test then."""
    with contextlib.suppress(ValueError):
        mutmut(folder, [CHEAP], 1)
    mutmut(folder, names, processes)


def read_mutants(folder: Path) -> list[Mutant]:
    """All mutants of ``folder``, by name."""
    from mutmut.stats import status_by_exit_code

    mutants = []
    for path in sorted((folder / "mutants").rglob("*.py.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        mutants += [Mutant(name, status_by_exit_code[code]) for name, code in sorted(codes.items())]
    return mutants


def sample(mutants: Sequence[Mutant], pattern: str, count: int, seed: int) -> list[str]:
    """The names of ``count`` of the mutants whose names match.

    Raises:
        UsageError: None matches.
    """
    names = [mutant.name for mutant in mutants if fnmatch.fnmatch(mutant.name, pattern)]
    if not names:
        raise UsageError(f"no mutant is called {pattern}; give a pattern such as 'sunfish.processes.*'")
    return sorted(random.Random(seed).sample(names, min(count, len(names))))


def measure(run: Run) -> None:
    """Try the sample."""
    folder, count = run.arguments.folder, run.arguments.mutants
    if run.smoke:
        folder = smoke_folder() / "mutation"
        write_smoke_project(folder)
    else:
        clone(folder)
    if not read_mutants(folder):
        try_again(folder, [CHEAP], 1)
    chosen = sample(read_mutants(folder), run.arguments.only, count, run.seed)
    spared = {mutant.name for mutant in read_mutants(folder) if mutant.verdict in KILLED}
    again = [name for name in chosen if not (run.arguments.survivors and name in spared)]
    if again:
        try_again(folder, again, run.threads)
    tried = [mutant for mutant in read_mutants(folder) if mutant.name in set(chosen)]
    run.header(torch.float32, mutants=len(tried), of=len(read_mutants(folder)))
    for mutant in tried:
        if mutant.verdict not in KILLED:
            run.say(f"{mutant.verdict}: {mutant.name}")
    for package in sorted({mutant.package for mutant in tried}):
        run.add({"package": package}, figures_of([mutant for mutant in tried if mutant.package == package]))
    run.add({"package": ALL}, figures_of(tried))


def figures_of(mutants: Sequence[Mutant]) -> dict[str, float | None]:
    """How the mutants of one package ended."""
    killed = sum(mutant.verdict in KILLED for mutant in mutants)
    return {"mutants": len(mutants), "killed": killed, "share": killed / len(mutants)}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How many mutants, which, and where."""
    parser.add_argument("--mutants", type=int, default=MUTANTS, help="mutants to try (%(default)s)")
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="of mutants of these names (%(default)s)"
    )
    parser.add_argument("--survivors", action="store_true", help="try only those that were not killed before")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the clone (build/mutation)")


benchmark = Benchmark(
    "robustness/mutation_score",
    __doc__,
    measure,
    claim="the fast tests notice 90% of all wrong edits",
    peer="the same tests on the code as it is, which pass",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
