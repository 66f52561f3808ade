"""Owns which files are damaged and how: mutant number N is a pure function of the seed and N."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

from benchmarks.robustness.byte_damage import BYTES, HUGE, SPECIAL, Damage, make_folder, make_pipe
from benchmarks.robustness.hostile_files import ARRAY, CODE, STATE, TEXT, WEIGHTS
from benchmarks.robustness.json_damage import JSON, NAMES_OF_FILES
from sunfish.utils import file_sha256

OF_ITSELF = "sha256"  # the entry of a record that has a hash of itself
CHECKPOINT, PREPARED = "ck/last.ckpt", "data/*"
LOADS = ("sample", "infill", "resume")


class Target(NamedTuple):
    """A kind of file."""

    kind: str
    files: tuple[str, ...]  # patterns below the folder of the run
    damages: tuple[tuple[Damage, ...], ...]  # groups; each is as likely as the others
    commands: tuple[str, ...]  # that read it
    content: tuple[str, ...] = ()  # commands whose result may follow from what a damaged file says
    record: str = ""  # the file beside it that holds its hash


class Mutant(NamedTuple):
    """A damaged file."""

    target: Target
    what: str  # the file, and what happened to it
    sealed: bool  # its hash was made to agree

    def may_differ(self, command: str) -> bool:
        """Whether a success may have another result than with the undamaged file."""
        return self.sealed or command in self.target.content


def redirect_link(path: Path, dice: random.Random) -> str:
    """A link that points elsewhere, or something else in its place."""
    target = path.resolve()
    kind = dice.choice(("nowhere", "itself", "file", "parent", "root", "copy", "removed", "text", "pipe"))
    targets = {"nowhere": "step-9999999", "itself": path.name, "parent": "..", "root": "/"}
    targets["file"] = os.path.relpath(target / "config.json", path.parent)
    path.unlink()
    if kind in targets:
        path.symlink_to(targets[kind])
    elif kind == "copy":
        shutil.copytree(target, path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "text":
        path.write_text(str(target))
    return f"a link to {kind}" if kind in targets else kind


def change_mode(path: Path, dice: random.Random) -> str:
    """A file that may not be read, except by root."""
    path.chmod(0)
    return "without permissions"


Damages = tuple[Damage, ...]
FILE: tuple[Damages, ...] = (BYTES, BYTES, (*SPECIAL, change_mode))
SMALL_SPECIAL = tuple(damage for damage in SPECIAL if damage.__name__ != "make_huge")
TEXT_FILE: tuple[Damages, ...] = (BYTES, TEXT, TEXT, (*SMALL_SPECIAL, change_mode))
# A pipe with prompts is what a shell makes of <(command), and waiting for its writer is right.
PIPED_FILE: tuple[Damages, ...] = tuple(
    tuple(make_folder if damage is make_pipe else damage for damage in damages) for damages in TEXT_FILE
)


def _of_checkpoint(kind: str, file: str, *damages: Damages, users: bool = False) -> Target:
    """A file of a checkpoint; one that is the ``users`` has no hash, and says how texts are sampled."""
    commands = LOADS[:2] if users else LOADS
    record = "" if users else os.path.relpath("config.json", Path(file).parent)
    content = commands if users else ()
    return Target(kind, (f"{CHECKPOINT}/{file}",), (*FILE, *damages), commands, content, record)


def _prepared(kind: str, files: str, *damages: Damages) -> Target:
    """A file of a prepared corpus."""
    pattern = f"{PREPARED}/{files}"
    return Target(kind, (pattern,), (*FILE, *damages), ("data", "resume"), (), "manifest.json")


def _of_a_user(kind: str, file: str, command: str, damages: tuple[Damages, ...] = TEXT_FILE) -> Target:
    """A file that a user hands to a command; damaged, it may mean something else."""
    return Target(kind, (file,), damages, (command,), (command,))


TARGETS = (
    _of_checkpoint("config.json", "config.json", JSON, JSON, JSON, NAMES_OF_FILES),
    _of_checkpoint("weights", "model.safetensors", WEIGHTS, WEIGHTS, CODE),
    _of_checkpoint("tokenizer.json", "tokenizer.json", JSON, JSON, CODE),
    _of_checkpoint("trainer state", "trainer/state.pt", STATE, STATE, CODE),
    _of_checkpoint("model card", "README.md"),
    _of_checkpoint("generation_config.json", "generation_config.json", JSON, users=True),
    Target("links", ("ck/last.ckpt", "ck/tiny/last.ckpt"), ((redirect_link,),), ("sample", "auto")),
    _prepared("manifest", "manifest.json", JSON, JSON, NAMES_OF_FILES),
    _prepared("prepared tokenizer", "tokenizer.json", JSON, CODE),
    _prepared("prepared ids", "*.bin"),
    _prepared("prepared arrays", "*.npy", ARRAY, CODE),
    Target("data .jsonl", ("texts.jsonl",), TEXT_FILE, ("read .jsonl", "resume"), ("read .jsonl",)),
    _of_a_user("data .txt", "texts.txt", "read .txt"),
    _of_a_user("data .csv", "texts.csv", "read .csv"),
    _of_a_user("data .parquet", "texts.parquet", "read .parquet", (BYTES, BYTES, SMALL_SPECIAL)),
    _of_a_user("prompts", "prompts.txt", "prompts", PIPED_FILE),
    _of_a_user("text with gaps", "gaps.txt", "gaps", PIPED_FILE),
    _of_a_user("vocabulary", "vocabulary.json", "vocabulary", (*FILE, JSON, JSON, CODE)),
)


def damage(run: Path, seed: str) -> Mutant:
    """Damage one file of ``run``, the folder of a run, as the dice of ``seed`` say."""
    dice = random.Random(seed)
    target = dice.choice(TARGETS)
    path = dice.choice([path for pattern in target.files for path in sorted(run.glob(pattern))])
    chosen = dice.choice(dice.choice(target.damages))
    before = path.stat()
    what = f"{path.relative_to(run)}: {chosen(path, dice)}"
    sealed = bool(target.record) and dice.random() < 0.5 and seal(path, path.parent / target.record)
    if path.exists() and dice.random() < 0.3:  # where times are compared, they say nothing
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return Mutant(target, what + " (hash agrees)" * sealed, sealed)


def seal(path: Path, record: Path) -> bool:
    """Let the hashes and the size in ``record`` agree with a damaged file, which may be the record itself.

    Returns:
        Whether there is anything that agrees now.
    """
    if not path.exists() or not stat.S_ISREG(path.stat().st_mode) or path.stat().st_size >= HUGE:
        return False
    try:
        metadata = json.loads(record.read_text(encoding="utf-8"))
        name = os.path.relpath(path, record.parent)
        if path != record:
            digest, old = file_sha256(path), metadata["files"][name]
            entry = {"size": path.stat().st_size, "sha256": digest}
            metadata["files"][name] = digest if isinstance(old, str) else entry
        elif OF_ITSELF not in metadata:
            return False
        if metadata.pop(OF_ITSELF, None) is not None:
            text = json.dumps(metadata, sort_keys=True)
            metadata[OF_ITSELF] = hashlib.sha256(text.encode()).hexdigest()
    except (ValueError, TypeError, RecursionError, OSError):  # the record or the file is damaged beyond that
        return False
    record.write_text(json.dumps(metadata), encoding="utf-8")
    return True
