"""Owns the tiny run that is disturbed: its command line, its record, and what a disturbed run may not lose.

A run is measured by the one that nobody disturbed: the losses of every step bit for bit, the final weights
by their hash, the files that are left.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sunfish.checkpoint.folder import LAST, load_checkpoint, load_trainer
from sunfish.cli import main
from sunfish.data.dataset import open_prepared
from sunfish.data.stories.generate import story
from sunfish.utils import file_sha256

NAME, CHECKPOINTS, DATA = "tiny", "ck", "data"
CLOCKS = ("time", "minutes", "tokens_per_second")  # figures that no two runs share
SHAPE = (
    *("--config", "nano", "--vocab_size", "300", "--n_layer", "1", "--n_head", "1", "--n_embd", "16"),
    *("--batch_size", "4", "--precision", "float32", "--threads", "1", "--cpu", "--no-preflight"),
    *("--set", "training.eval_texts=4", "--set", "training.log_every=1", "--set", "training.trackers="),
)
TEXTS, TEXT_LETTERS = 80, 90
Tree = dict[str, str]  # relative path of a file or link -> where the link points, "" for a file


class TinyRun(NamedTuple):
    """A run in a folder of its own, which is its working folder."""

    steps: int
    every: int  # steps between two checkpoints
    context_length: int = 16
    data: tuple[str, ...] = ("--data", "texts.jsonl")

    def words(self, resume: str = "auto") -> list[str]:
        """The command line that begins it, or resumes it where there is a checkpoint."""
        places = ["--name", NAME, "--checkpoints", CHECKPOINTS, "--data_folder", DATA]
        length = ["--max_steps", str(self.steps), "--set", f"training.eval_every={self.every}"]
        shape = [*SHAPE, "--context_length", str(self.context_length)]
        return ["train", "--resume", resume, *shape, *self.data, *places, *length]

    def begin(self, folder: Path, first: int = 0) -> Path:
        """Make its folder with the text that it learns from, in the same state each time.

        Args:
            folder: That of the run.
            first: As :func:`write_texts`.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_texts(folder / "texts.jsonl", first)
        return folder


class Record(NamedTuple):
    """What a finished run has left."""

    losses: dict[str, list[dict[str, Any]]]  # "step 7", "validation 7" -> each record of it, without clocks
    weights: str
    tree: Tree


def write_texts(path: Path, first: int) -> None:
    """Short texts with prompts, as JSON lines: the built-in stories from number ``first`` on, cut."""
    stories = (story(0, "train", number) for number in range(first, first + TEXTS))
    lines = [json.dumps({"prompt": s.prompt, "text": s.text[:TEXT_LETTERS]}) for s in stories]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.utime(path, (0, 0))  # two copies of one text are the same to a run


def undisturbed(run: TinyRun, folder: Path, first: int = 0) -> Record:
    """The record of ``run`` where nothing happens.

    It takes place in this process, which then has loaded all that the processes forked from it need.

    Args:
        run: What is trained.
        folder: Where; it is made anew.
        first: As :func:`write_texts`.

    Raises:
        RuntimeError: The run failed.
    """
    shown = io.StringIO()
    with (
        contextlib.chdir(run.begin(folder, first)),
        contextlib.redirect_stderr(shown),
        contextlib.redirect_stdout(shown),
    ):
        code = main(run.words())
    if code:
        raise RuntimeError(f"the undisturbed run ended with {code}: {shown.getvalue()}")
    return record_of(folder)


def record_of(folder: Path) -> Record:
    """What the finished run in ``folder`` has left.

    Raises:
        ValueError: A line of its metrics is no JSON.
    """
    losses: dict[str, list[dict[str, Any]]] = {}
    metrics = folder / CHECKPOINTS / NAME / "metrics.jsonl"
    for number, line in enumerate(metrics.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            values = json.loads(line)
        except ValueError as why:
            raise ValueError(f"line {number} of metrics.jsonl is torn: {line[:80]!r}") from why
        if "note" in values:  # words of a resumed run
            continue
        kind = "validation" if any(key.startswith("validation/") for key in values) else "step"
        plain = {key: value for key, value in values.items() if key not in CLOCKS}
        losses.setdefault(f"{kind} {values['step']}", []).append(plain)
    weights = file_sha256(folder / CHECKPOINTS / LAST / "model.safetensors")
    return Record(losses, weights, tree_of(folder))


def tree_of(folder: Path) -> Tree:
    """Every file and link below ``folder``."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(p.relative_to(folder)): str(p.readlink()) if p.is_symlink() else "" for p in paths}


def roots_of_new(paths: Iterable[str], known: Iterable[str]) -> list[str]:
    """The files of ``paths`` that are not ``known``; the topmost folder where none of its files is."""
    folders = {str(parent) for path in known for parent in (Path(path), *Path(path).parents)}
    roots: set[str] = set()
    for path in map(Path, paths):
        new = [part for part in (path, *path.parents) if str(part) not in folders]
        roots.update(map(str, new[-1:]))
    return sorted(roots)


def faults_at_the_end(folder: Path, expected: Record) -> list[str]:
    """How a run that was disturbed and then finished differs from the undisturbed one, as "KIND: what"."""
    try:
        record = record_of(folder)
    except (ValueError, OSError) as why:
        return [f"lost: {why}"]
    faults = []
    for key, (values,) in expected.losses.items():
        logged = record.losses.pop(key, [])
        if not logged:
            faults.append(f"losses: {key} is not in metrics.jsonl")
        elif any(other != values for other in logged):
            faults.append(f"losses: {key} has others")
    faults += [f"losses: {key} is in metrics.jsonl, but in no undisturbed run" for key in record.losses]
    if record.weights != expected.weights:
        faults.append("weights: the final ones differ")
    faults += [f"debris: {path}" for path in roots_of_new(record.tree, expected.tree)]
    faults += [f"lost: {path}" for path in roots_of_new(expected.tree, record.tree)]
    faults += [
        f"links: {path} points to {record.tree[path]!r} instead of {target!r}"
        for path, target in expected.tree.items()
        if record.tree.get(path, target) != target
    ]
    return faults


def faults_in_between(folder: Path) -> list[str]:
    """What is not whole in the folder of a run that has not finished."""
    return [*_damaged_checkpoints(folder / CHECKPOINTS), *_damaged_corpora(folder / DATA)]


def _damaged_checkpoints(checkpoints: Path) -> Iterator[str]:
    for last in (checkpoints / LAST, checkpoints / NAME / LAST):
        if last.is_symlink():
            try:
                if load_checkpoint(last).step != load_trainer(last)["step"]:
                    yield f"damaged: {last.name}: its weights and its trainer are of different steps"
            except (ValueError, OSError) as why:
                yield f"damaged: {last.relative_to(checkpoints.parent)} does not load: {why}"
    for folder in sorted((checkpoints / NAME).glob("step-???????")):
        try:
            load_checkpoint(folder)
        except (ValueError, OSError) as why:
            yield f"damaged: {folder.name} does not load: {why}"


def _damaged_corpora(data: Path) -> Iterator[str]:
    for folder in sorted(data.glob("[!.]*")):
        try:
            open_prepared(folder)
        except (ValueError, OSError) as why:
            yield f"damaged: {folder.name} is no whole corpus: {why}"


def steps_saved(folder: Path) -> int:
    """The step at which a resumed run would begin."""
    last = folder / CHECKPOINTS / LAST
    return int(json.loads((last / "config.json").read_text())["step"]) if last.exists() else 0
