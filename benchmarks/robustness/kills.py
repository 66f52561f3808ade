"""Owns the claim: SIGKILL at any moment costs no more than the steps since the last checkpoint.

    ./run.sh benchmarks/robustness/kills.py
    ./run.sh benchmarks/robustness/kills.py --only 17

A tiny run of 200 steps with a checkpoint every 5 is killed at uniformly random moments between its start
and its end: while it prepares its data, steps, validates, writes a checkpoint, moves links, prunes. It is
resumed with ``--resume auto``, and killed again in two cases of three, up to three times in a row; then it
runs to its end. After each kill all that ``last.ckpt`` names must load; in the end the losses of every
step, repeated ones included, must be bit-equal to those of the run that was never killed, and so must the
weights and the files that are left. ``--only`` repeats one case and keeps its folder.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.frame import Benchmark, Run
from benchmarks.robustness.forks import Fork, answer_of, scratch_folder, start_sunfish
from benchmarks.robustness.tiny_run import (
    Record,
    TinyRun,
    faults_at_the_end,
    faults_in_between,
    steps_saved,
    undisturbed,
)

KILLS, LONGEST_ROW = 100, 3
WHOLE = TinyRun(steps=200, every=5, data=("--stories", "200"))
SMOKE = TinyRun(steps=12, every=3, context_length=12)
SLOWEST = 20.0  # times as long as the undisturbed run, until a run counts as hung
QUESTION = signal.SIGPROF  # one that a run does not handle itself
NOTE_SECONDS = 1.0  # at most, for a process to say where it is
END_OF_STACK = ("in <module>\n", "...\n")  # what is deeper than 100 calls is cut
PHASES = ("preparation", "steps", "saves", "validation", "other")
FRAME = re.compile(r'File "([^"]*)", line \d+ in (\S+)')


class Case(NamedTuple):
    """A run that was killed some times, and then finished."""

    phases: list[str]  # in what each kill found it
    resumes: int  # from a checkpoint
    faults: list[str]


class Killer:
    """Kills one tiny run at random moments."""

    def __init__(self, run: TinyRun, folder: Path) -> None:
        """Run it undisturbed, twice: the first time loads what the others find loaded."""
        self.run, self.folder = run, folder / "run"  # one path for all: a run knows its data by it
        self.expected: Record = undisturbed(run, self.folder)
        run.begin(self.folder)
        begin = time.monotonic()
        ended = start_sunfish(run.words(), self.folder).wait()
        self.seconds = time.monotonic() - begin
        if ended.code:
            raise RuntimeError(f"the undisturbed run ended with {ended.code}: {ended.stderr}")

    def case(self, seed: str, kills: int = LONGEST_ROW) -> Case:
        """Kill the run in a row as often as the dice say, ``kills`` times at most; then let it finish."""
        dice, folder = random.Random(seed), self.run.begin(self.folder)
        phases: list[str] = []
        faults: list[str] = []
        resumes = 0
        for number in range(min(kills, dice.randint(1, LONGEST_ROW))):
            done = steps_saved(folder)
            moment = dice.uniform(0, self.seconds * (1 - done / self.run.steps))
            phase = self._kill(folder, moment)
            if not phase:  # it was faster this time
                break
            phases.append(phase)
            faults += [
                f"kill {number + 1} ({phase}): {fault}"
                for fault in answer_of(lambda: faults_in_between(folder))
            ]
            resumes += (folder / "ck" / "last.ckpt").exists()
        ended = start_sunfish(self.run.words(), folder).wait(SLOWEST * self.seconds)
        if ended.code:
            last_line = ended.stderr.strip().rpartition("\n")[2]
            faults.append(f"resume: it ended with {ended.code}{', hung' * ended.hung}: {last_line}")
        else:
            faults += faults_at_the_end(folder, self.expected)
        return Case(phases, resumes, faults)

    def _kill(self, folder: Path, moment: float) -> str:
        """Start or resume it, and kill it after ``moment`` seconds; its phase, "" where it was faster."""
        with tempfile.NamedTemporaryFile() as note:
            fork = start_sunfish(
                self.run.words(), folder, prepare=lambda: faulthandler.register(QUESTION, note.file)
            )
            if fork.ends_within(moment):
                fork.wait()
                return ""
            _ask_where_it_is(fork, Path(note.name))
            fork.kill()
            return phase_of(Path(note.name).read_text())


def _ask_where_it_is(fork: Fork, note: Path) -> None:
    """Let the process write its stack to ``note``; one that has not begun dies of the question.

    The stack comes in pieces, the main thread and its outermost frame last.
    """
    os.kill(fork.pid, QUESTION)
    deadline = time.monotonic() + NOTE_SECONDS
    while not note.read_text().endswith(END_OF_STACK) and time.monotonic() < deadline:
        time.sleep(0.001)


def phase_of(stack: str) -> str:
    """What a process was doing, by its stack as ``faulthandler`` writes it."""
    frames = FRAME.findall(stack)
    names = {name for _, name in frames}
    if "train_step" in names:
        return "steps"
    if "save" in names:
        return "saves"
    if names & {"validate", "sample"}:
        return "validation"
    return "preparation" if any("/data/prepare/" in path for path, _ in frames) else "other"


def measure(run: Run) -> None:
    """Kill until there are enough kills."""
    arguments = run.arguments
    wanted = 1 if run.smoke else arguments.kills
    tiny = SMOKE if run.smoke else WHOLE
    with scratch_folder("kills", keep=bool(arguments.only)) as folder:
        killer = Killer(tiny, folder)
        run.header(torch.float32, f"undisturbed: {killer.seconds:.1f} s", steps=tiny.steps, every=tiny.every)
        cases: list[Case] = []
        numbers = iter([arguments.only] if arguments.only else range(1, 10 * wanted))
        while sum(len(case.phases) for case in cases) < wanted and (number := next(numbers, None)):
            case = killer.case(f"{run.seed}-{number}")
            cases.append(case)
            run.say(f"{number}: killed in {', '.join(case.phases) or 'nothing'}")
            for fault in case.faults:
                run.say(f"FAULT {number}: {fault}")
    phases = Counter(phase for case in cases for phase in case.phases)
    figures: dict[str, float | None] = {
        "kills": phases.total(),
        **{f"in_{phase}": phases[phase] for phase in PHASES},
        "resumes": sum(case.resumes for case in cases),
        "in_a_row": max(len(case.phases) for case in cases),
        "runs": len(cases),
        "runs_with_faults": sum(bool(case.faults) for case in cases),
        "faults": sum(len(case.faults) for case in cases),
    }
    run.add({}, figures)
    run.exit_code = int(figures["faults"] != 0)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """How many kills, or which case."""
    parser.add_argument("--kills", type=int, default=KILLS, help="kills (%(default)s)")
    parser.add_argument("--only", type=int, metavar="CASE", help="repeat one case, and keep its folder")


benchmark = Benchmark(
    "robustness/kills",
    __doc__,
    measure,
    claim="a run that is killed at any moment resumes bit for bit",
    peer="the same run that was never killed",
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(benchmark.main())
