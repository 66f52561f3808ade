"""Owns the claim: whatever happens to a file, it is refused in one line or does no harm.

    ./run.sh benchmarks/robustness/mutations.py
    ./run.sh benchmarks/robustness/mutations.py --only 17

Each of 1,000 mutants is the folder of a tiny run with one damaged file: bytes flipped, cut, added; the file
of another run; hostile JSON; headers that promise too much; tensors of other shapes; pickles and arrays
that run code; names that lead outside; pipes, devices, folders, links and gigabytes of zeros in a file's
place. Half of the damaged files whose hash is recorded get a hash that agrees, as an attacker would see to.
The commands that read the file are run. Allowed are the result of the undamaged run, and one line with exit
code 1 or 2. Where a hash was made to agree, or where the file is what a user wrote, a success may have
another result. Never allowed are a traceback, a crash, a hang, gigabytes of memory, another result, code
that is run. ``--only`` repeats one mutant, shows what its commands print, and keeps its folder.
"""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.robustness.forks import Ended, scratch_folder
from benchmarks.robustness.mutants import TARGETS, Mutant
from benchmarks.robustness.verdicts import kinds_of
from benchmarks.robustness.workplace import Workplace

MUTANTS, SMOKE_MUTANTS = 1000, 3
ALL = "all"  # kinds together
HARMS = ("traceback", "crash", "hang", "memory", "result", "code", "message", "warning")


class Trial(NamedTuple):
    """A command on a mutant."""

    number: int
    mutant: Mutant
    command: str
    ended: Ended
    faults: list[str]


def trials_of(place: Workplace, seed: int, number: int, commands: int | None = None) -> list[Trial]:
    """Run the commands that read the damaged file of mutant ``number``.

    Args:
        place: Where the runs are.
        seed: Of all mutants.
        number: Of this mutant.
        commands: How many of the commands, in turn; None: all.
    """
    name = f"{seed}-{number}"
    names = place.damage(name).target.commands
    chosen = names if commands is None else [names[(number + i) % len(names)] for i in range(commands)]
    trials = []
    for command in chosen:
        mutant = place.damage(name)
        ended = place.run(command)
        trials.append(Trial(number, mutant, command, ended, place.faults(mutant, command, ended)))
    return trials


def measure(run: Run) -> None:
    """Try every mutant."""
    only: int | None = run.arguments.only
    count = SMOKE_MUTANTS if run.smoke else run.arguments.mutants
    with scratch_folder("mutations", keep=only is not None) as folder:
        place = Workplace(folder)
        run.header(torch.float32, mutants=count)
        trials: list[Trial] = []
        for number in range(count) if only is None else [only]:
            new = trials_of(place, run.seed, number, 1 if run.smoke else None)
            for trial in new:
                show(run, trial, everything=only is not None)
            trials += new
    for target in TARGETS:
        of_kind = [trial for trial in trials if trial.mutant.target == target]
        if of_kind:
            run.add({"kind": target.kind}, figures_of(of_kind))
    run.add({"kind": ALL}, figures_of(trials))
    run.exit_code = int(any(trial.faults for trial in trials))


def show(run: Run, trial: Trial, everything: bool) -> None:
    """The faults of a trial; with ``everything`` what it printed, too."""
    for fault in trial.faults:
        run.say(f"FAULT {trial.number}: {trial.command} with {trial.mutant.what}: {fault}")
    if everything:
        run.say(f"{trial.number}: {trial.command} with {trial.mutant.what}: exit code {trial.ended.code}")
        run.say(f"{trial.ended.stdout}{trial.ended.stderr}")


def figures_of(trials: list[Trial]) -> dict[str, float | None]:
    """How the commands on mutants of one kind ended."""
    harms = kinds_of(fault for trial in trials for fault in trial.faults)
    return {
        "mutants": len({trial.number for trial in trials}),
        "commands": len(trials),
        "unharmed": sum(not trial.faults and not trial.ended.code for trial in trials),
        "refused": sum(not trial.faults and trial.ended.code > 0 for trial in trials),
        **{harm: harms[harm] for harm in HARMS},
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How many mutants, or which."""
    parser.add_argument("--mutants", type=int, default=MUTANTS, help="mutants (%(default)s)")
    parser.add_argument("--only", type=int, metavar="N", help="repeat one mutant, and keep its folder")


benchmark = Benchmark(
    "robustness/mutations",
    __doc__,
    measure,
    claim="a damaged file is refused in one line or does no harm",
    peer="the same commands on the undamaged files",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
