"""Owns the place where files are damaged: two tiny runs, the commands that read them, the right results."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

from benchmarks.robustness.byte_damage import DONOR
from benchmarks.robustness.forks import Ended, run_sunfish
from benchmarks.robustness.hostile_files import MARKER
from benchmarks.robustness.mutants import CHECKPOINT, Mutant, damage
from benchmarks.robustness.tiny_run import CHECKPOINTS, NAME, TinyRun, record_of, undisturbed
from benchmarks.robustness.verdicts import error_line, faults_of_ending

RUN = TinyRun(steps=4, every=2)
LONGER = RUN._replace(steps=6)
SECONDS = 60.0  # until a command counts as hung
SPARE_BYTES = 2**32  # of address space; what asks for more than that fails
MOST_BYTES = 2**31  # of memory
NO_MEMORY = re.compile(r"allocat|MemoryError|memory", re.I)
SETTINGS = {"best": {"temperature": 0.9, "sampler": "verified", "block_length": 8}, "fast": {"num_steps": 4}}

_sampling = ["--json", "--cpu", "--seed", "3"]
_preparing = [*("data", "--config", "nano", "--vocab_size", "300", "--context_length", "16"), "--json"]
COMMANDS: dict[str, list[str]] = {
    "sample": ["sample", CHECKPOINT, "--prompt", "Write about a dog", *_sampling],
    "infill": ["infill", CHECKPOINT, "--text", "The [MASK:3] dog.", *_sampling],
    "resume": ["train", "--resume", CHECKPOINT, "--max_steps", str(LONGER.steps)],
    "auto": LONGER.words(),
    "data": [*_preparing, "--data", "texts.jsonl", "--data_folder", "data", "--show", "999"],
    **{
        f"read {suffix}": [*_preparing, "--data", f"texts{suffix}", "--data_folder", "fresh", "--show", "3"]
        for suffix in (".jsonl", ".txt", ".csv", ".parquet")
    },
    "prompts": ["sample", CHECKPOINT, "--prompt_file", "prompts.txt", *_sampling],
    "gaps": ["infill", CHECKPOINT, "--file", "gaps.txt", *_sampling],
    "vocabulary": [
        *(*_preparing, "--data", "texts.txt", "--data_folder", "fresh", "--tokenizer", "vocabulary.json"),
        *("--show", "3"),
    ],
}
TRAINING = ("resume", "auto")


class Workplace:
    """A folder with the run that is damaged, made anew for each mutant, and the run that lends its files."""

    def __init__(self, folder: Path) -> None:
        """Train both, and run every command on undamaged files.

        Raises:
            RuntimeError: A command fails there.
        """
        self.mutant, self.template = folder / "mutant", folder / "template"
        for number, name in enumerate(("run", DONOR)):
            undisturbed(RUN, self.mutant / name, first=1000 * number)
            write_inputs(self.mutant / name)
        self.mutant.rename(self.template)
        self.right = {command: self._right_result(command) for command in COMMANDS}

    def damage(self, seed: str) -> Mutant:
        """Make the folder anew, and damage one file of it."""
        self._restore()
        return damage(self.mutant / "run", seed)

    def run(self, command: str) -> Ended:
        """Run one of ``COMMANDS``."""
        return run_sunfish(COMMANDS[command], self.mutant / "run", SECONDS, SPARE_BYTES)

    def result(self, command: str, ended: Ended) -> str:
        """What a command has brought about: for training the losses and weights, else what it printed."""
        if command not in TRAINING:
            return ended.stdout
        try:
            record = record_of(self.mutant / "run")
        except (ValueError, OSError) as why:
            return f"no record: {why}"
        new = {key: value for key, value in record.losses.items() if int(key.split()[1]) > RUN.steps}
        return json.dumps([new, record.weights])

    def faults(self, mutant: Mutant, command: str, ended: Ended) -> list[str]:
        """What must not happen, and did."""
        faults = faults_of_ending(ended)
        if (self.mutant / MARKER).exists():
            faults.append("code: the payload was run")
        if ended.grown_bytes > MOST_BYTES:
            faults.append(f"memory: {ended.grown_bytes / 2**20:.0f} MiB")
        elif NO_MEMORY.search(error_line(ended)):
            faults.append(f"memory: more than {SPARE_BYTES >> 20} MiB asked for: {error_line(ended)[:160]}")
        if not ended.code and not mutant.may_differ(command):
            result = self.result(command, ended)
            if result != self.right[command]:
                faults.append(f"result: {result[:80]!r} instead of {self.right[command][:80]!r}")
        return faults

    def _restore(self) -> None:
        shutil.rmtree(self.mutant, ignore_errors=True)
        shutil.copytree(self.template, self.mutant, symlinks=True)

    def _right_result(self, command: str) -> str:
        self._restore()
        ended = self.run(command)
        if ended.code:
            raise RuntimeError(f"{command} ended with {ended.code} on undamaged files: {ended.stderr}")
        return self.result(command, ended)


def write_inputs(run: Path) -> None:
    """What a user may hand to the commands beside the run: texts in other formats, prompts, gaps."""
    import pyarrow
    from pyarrow import parquet

    records = [json.loads(line) for line in (run / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    (run / "texts.txt").write_text("\n\n".join(record["text"] for record in records), encoding="utf-8")
    with (run / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "text"])
        writer.writeheader()
        writer.writerows(records)
    parquet.write_table(pyarrow.Table.from_pylist(records), run / "texts.parquet")
    (run / "prompts.txt").write_text("\n".join(r["prompt"] for r in records[:3]) + "\n", encoding="utf-8")
    (run / "gaps.txt").write_text("A dog [MASK:3] it.\n", encoding="utf-8")
    checkpoint = run / CHECKPOINTS / NAME / f"step-{RUN.steps:07d}"
    shutil.copyfile(checkpoint / "tokenizer.json", run / "vocabulary.json")
    (checkpoint / "generation_config.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
