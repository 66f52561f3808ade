"""Owns which files are damaged and how: mutant number N is a pure function of the seed and N."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

from benchmarks.robustness.byte_damage import BYTES, HUGE, SPECIAL, Damage
from benchmarks.robustness.hostile_files import ARRAY, STATE, TEXT, WEIGHTS
from benchmarks.robustness.json_damage import JSON, NAMES_OF_FILES
from sunfish.utils import file_sha256

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


FILE: tuple[tuple[Damage, ...], ...] = (BYTES, BYTES, (*SPECIAL, change_mode))
SMALL_SPECIAL = tuple(damage for damage in SPECIAL if damage.__name__ != "make_huge")
TEXT_FILE: tuple[tuple[Damage, ...], ...] = (BYTES, TEXT, TEXT, (*SMALL_SPECIAL, change_mode))

TARGETS = (
    Target("config.json", (f"{CHECKPOINT}/config.json",), (*FILE, JSON, JSON, JSON, NAMES_OF_FILES), LOADS),
    Target(
        "weights", (f"{CHECKPOINT}/model.safetensors",), (*FILE, WEIGHTS, WEIGHTS), LOADS, (), "config.json"
    ),
    Target(
        "tokenizer.json", (f"{CHECKPOINT}/tokenizer.json",), (*FILE, JSON, JSON), LOADS, (), "config.json"
    ),
    Target(
        "trainer state",
        (f"{CHECKPOINT}/trainer/state.pt",),
        (*FILE, STATE, STATE),
        LOADS,
        (),
        "../config.json",
    ),
    Target("model card", (f"{CHECKPOINT}/README.md",), FILE, LOADS, (), "config.json"),
    Target(
        "generation_config.json",
        (f"{CHECKPOINT}/generation_config.json",),
        (*FILE, JSON),
        LOADS[:2],
        LOADS[:2],
    ),
    Target("links", ("ck/last.ckpt", "ck/tiny/last.ckpt"), ((redirect_link,),), ("sample", "auto")),
    Target(
        "manifest", (f"{PREPARED}/manifest.json",), (*FILE, JSON, JSON, NAMES_OF_FILES), ("data", "resume")
    ),
    Target(
        "prepared tokenizer",
        (f"{PREPARED}/tokenizer.json",),
        (*FILE, JSON),
        ("data", "resume"),
        (),
        "manifest.json",
    ),
    Target("prepared ids", (f"{PREPARED}/*.bin",), FILE, ("data", "resume"), (), "manifest.json"),
    Target(
        "prepared arrays", (f"{PREPARED}/*.npy",), (*FILE, ARRAY), ("data", "resume"), (), "manifest.json"
    ),
    Target("data .jsonl", ("texts.jsonl",), TEXT_FILE, ("read .jsonl", "resume"), ("read .jsonl",)),
    Target("data .txt", ("texts.txt",), TEXT_FILE, ("read .txt",), ("read .txt",)),
    Target("data .csv", ("texts.csv",), TEXT_FILE, ("read .csv",), ("read .csv",)),
    Target(
        "data .parquet",
        ("texts.parquet",),
        (BYTES, BYTES, SMALL_SPECIAL),
        ("read .parquet",),
        ("read .parquet",),
    ),
    Target("prompts", ("prompts.txt",), TEXT_FILE, ("prompts",), ("prompts",)),
    Target("text with gaps", ("gaps.txt",), TEXT_FILE, ("gaps",), ("gaps",)),
    Target("vocabulary", ("vocabulary.json",), (*FILE, JSON, JSON), ("vocabulary",), ("vocabulary",)),
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
    """Let the hash and the size in ``record`` agree with a damaged file; whether there is anything to hash."""
    if not path.exists() or not stat.S_ISREG(path.stat().st_mode) or path.stat().st_size >= HUGE:
        return False
    metadata = json.loads(record.read_text(encoding="utf-8"))
    name = os.path.relpath(path, record.parent)
    digest = file_sha256(path)
    old = metadata["files"][name]
    metadata["files"][name] = (
        digest if isinstance(old, str) else {"size": path.stat().st_size, "sha256": digest}
    )
    record.write_text(json.dumps(metadata), encoding="utf-8")
    return True
