"""Train a model, or go on with one from its checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from sunfish.commands.flags import WrongUse, add_config_flags, config_of, given_fields, print_config
from sunfish.config import Config
from sunfish.utils import log

# Of a resumed run these may change: how long, how fast, how reported. The rest is what was trained.
FIXED_GROUPS = ("model", "process", "corpus")
FREE_FIELDS = ("data_folder",)


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of ``sunfish train``."""
    parser.add_argument(
        "--resume", metavar="PATH", help="go on from this checkpoint; 'auto': from the last one, if any"
    )
    parser.add_argument("--cpu", action="store_true", help="the same as --device cpu")
    parser.add_argument("--preflight", action=argparse.BooleanOptionalAction, default=None,
                        help="measure this machine first (on for a new run)")  # fmt: skip
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and stop"
    )
    add_config_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Resolve the configuration, look at the machine, train."""
    resume: Path | None = None
    if arguments.resume == "auto":
        config = config_of(arguments)
        resume = find_run(config, named="name" in given_fields(arguments))
    elif arguments.resume:
        resume = Path(arguments.resume)
    config = resumed_config(arguments, resume) if resume else config_of(arguments)
    if arguments.print_config:
        print_config(config)
        return 0
    if arguments.preflight if arguments.preflight is not None else resume is None:
        from sunfish.training.preflight import preflight

        preflight(config)
    from sunfish.training.trainer import train

    print(train(config, resume))
    return 0


def resumed_config(arguments: argparse.Namespace, resume: Path) -> Config:
    """The configuration of the checkpoint, with the given flags changed; the model itself cannot change."""
    from sunfish.checkpoint.folder import read_about

    saved = Config.from_dict(read_about(resume)["config"])
    given = given_fields(arguments)
    for group in FIXED_GROUPS:
        for field in dataclasses.fields(getattr(saved, group)):
            old = getattr(getattr(saved, group), field.name)
            if field.name not in FREE_FIELDS and given.get(field.name, old) != old:
                raise WrongUse(
                    f"{field.name} is {given[field.name]!r}, but {resume} was trained with {old!r}; leave "
                    f"--{field.name} out to go on with that run, or train a new one: --name, without --resume"
                )
    if given.get("seed", saved.training.seed) != saved.training.seed:
        raise WrongUse(
            f"seed is {given['seed']}, but {resume} was trained with {saved.training.seed}, on which its "
            "data and their order depend; leave --seed out, or train a new run: --name, without --resume"
        )
    if arguments.config and arguments.base(arguments.config).model != saved.model:
        log(
            f"note: {resume} is not of the shape of --config {arguments.config}; its own is used "
            f"({saved.model.n_layer} layers, width {saved.model.n_embd})"
        )
    try:
        return saved.with_fields(**given)
    except ValueError as error:
        raise WrongUse(str(error)) from error


def find_run(config: Config, named: bool) -> Path | None:
    """For ``--resume auto``: the last checkpoint if it is of this shape, else the run of this name."""
    from sunfish.checkpoint.folder import LAST, read_about

    folder = Path(config.training.checkpoints)
    last, own = folder / LAST, folder / config.training.name / LAST
    for link in (last, own):
        if link.is_symlink() and not link.exists():
            raise ValueError(
                f"{link} points to a folder that is gone; remove the link, or put the folder back"
            )
    if last.exists():
        saved = Config.from_dict(read_about(last)["config"])
        if saved.model == config.model and (not named or saved.training.name == config.training.name):
            log(f"going on with {last} ({saved.training.name})")
            return last
        log(
            f"{last} belongs to the run {saved.training.name} ({saved.model.n_layer} layers, width "
            f"{saved.model.n_embd}), not to this one; it is kept; this run is named {config.training.name}"
        )
    if own.exists():
        log(f"going on with {own}")
        return own
    return None
