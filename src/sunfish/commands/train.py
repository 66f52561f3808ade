"""Train a model, or resume one from its checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sunfish.commands.flags import (
    add_config_flags,
    given_fields,
    print_config,
    resolve_config,
    user_path,
    with_user_paths,
)
from sunfish.commands.parser import Parser
from sunfish.config import Config
from sunfish.utils import UsageError, log

if TYPE_CHECKING:
    from sunfish.training.ranks import Ranks

# What a run has learned from cannot change when it is resumed; how long, how fast and how reported can.
FIXED_GROUPS = ("model", "process", "corpus")
FREE_FIELDS = ("data_folder", "data")
# Other text that is given on purpose may have other fields, but not another tokenizer.
FIELDS_OF_TEXT = (
    "text_field",
    "prompt_field",
    "prompt_template",
    "delimiter",
    "validation_fraction",
    "stories",
)


def add(parser: Parser) -> None:
    """The flags of ``sunfish train``."""
    parser.add_argument(
        "--resume", metavar="PATH", help="resume from this checkpoint; 'auto': from the last one, if any"
    )
    parser.add_argument("--cpu", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--preflight",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="measure this machine first (on for a new run)",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and stop"
    )
    add_config_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, together with the other processes that ``torchrun`` or ``srun`` has started, if any."""
    from sunfish.training.ranks import joined

    with joined() as ranks:
        return _train(arguments, ranks)


def _train(arguments: argparse.Namespace, ranks: Ranks) -> int:
    """Resolve the configuration, measure the machine, train."""
    resume: Path | None = None
    if arguments.resume == "auto":
        config = resolve_config(arguments)
        resume = find_run(config, named="name" in given_fields(arguments))
    elif arguments.resume:
        resume = user_path(arguments.resume)
    config = resumed_config(arguments, resume) if resume else resolve_config(arguments)
    if not resume:
        check_names(config)
    check_processes(config, arguments.preflight, ranks)
    if arguments.print_config:
        if ranks.is_main:
            print_config(config)
        return 0
    from sunfish.training.trackers import check_trackers

    check_trackers(config.training.trackers)
    measures = resume is None if arguments.preflight is None else arguments.preflight
    if measures and ranks.size == 1:
        from sunfish.training.preflight import preflight

        preflight(config)
    from sunfish.training.trainer import train

    folder = train(config, resume, other_data=resume is not None and "data" in given_fields(arguments))
    if ranks.is_main:
        print(folder)
    return 0


def check_processes(config: Config, preflight: bool | None, ranks: Ranks) -> None:
    """Refuse what several processes cannot do.

    Raises:
        UsageError: names the setting, its value and the remedy.
    """
    device = config.training.device
    if ranks.size == 1:
        return
    if preflight:
        raise UsageError("--preflight measures one process; leave it out with torchrun or srun")
    if device.startswith("cuda:"):
        raise UsageError(
            f"device is {device}, but each of {ranks.size} processes has a GPU of its own; use cuda"
        )


def check_names(config: Config) -> None:
    """Refuse a process, a tokenizer or a device that does not exist, before anything is measured or read.

    Raises:
        UsageError: for an unknown name, or a setting without effect on the process.
        ValueError: for a vocabulary that cannot be read.
    """
    from sunfish.hardware.device import check_device
    from sunfish.processes import build_process
    from sunfish.tokenizers import check_tokenizer
    from sunfish.training.time_sampling import check_noise_settings

    check_device(config.training.device)
    check_noise_settings(config, build_process(config.process, config.model.vocab_size))
    check_tokenizer(config.corpus.tokenizer, config.model.vocab_size)


def resumed_config(arguments: argparse.Namespace, resume: Path) -> Config:
    """The configuration of the checkpoint ``resume``, with the given fields changed.

    Raises:
        UsageError: for a field on which what was learned depends.
    """
    from sunfish.checkpoint.links import at_its_place
    from sunfish.checkpoint.metadata import check_resumable, read_metadata

    metadata = read_metadata(resume)
    check_resumable(resume)
    saved = at_its_place(Config.from_dict(metadata["config"]), resume)
    given = given_fields(arguments)
    fixed: dict[str, Any] = {"seed": saved.training.seed}
    for group in FIXED_GROUPS:
        values = getattr(saved, group)
        fixed |= {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    free = FREE_FIELDS + (FIELDS_OF_TEXT if "data" in given else ())
    for name, old in fixed.items():
        if name not in free and given.get(name, old) != old:
            raise UsageError(
                f"{name} is {given[name]!r}, but {resume} was trained with {old!r}; leave it out to resume "
                "that run, or train a new one: --name, without --resume"
            )
    if arguments.config and not is_shape_of(arguments.base(arguments.config), saved, given):
        log(
            f"note: {resume} does not have the shape of --config {arguments.config}; the checkpoint's is used "
            f"({saved.model.n_layer} layers, width {saved.model.n_embd})"
        )
    return with_user_paths(saved.with_fields(**given))


def is_shape_of(base: Config, saved: Config, given: Mapping[str, Any]) -> bool:
    """Whether the network of ``saved`` has the shape of ``base``, but for the fields that are given."""
    shapes = (dataclasses.asdict(config.model) for config in (base, saved))
    ours, theirs = ({name: value for name, value in shape.items() if name not in given} for shape in shapes)
    return ours == theirs


def find_run(config: Config, named: bool) -> Path | None:
    """For ``--resume auto``: the last checkpoint if it has this shape, else that of the run of this name."""
    from sunfish.checkpoint.links import LAST, find_last
    from sunfish.checkpoint.metadata import read_metadata

    folder = Path(config.training.checkpoints)
    last, of_this_name = folder / LAST, find_last(folder / config.training.name)
    if os.path.lexists(last):
        saved = Config.from_dict(read_metadata(last)["config"])
        if saved.model == config.model and (not named or saved.training.name == config.training.name):
            log(f"resuming {last} ({saved.training.name})")
            return last
        log(
            f"{last} belongs to the run {saved.training.name} ({saved.model.n_layer} layers, width "
            f"{saved.model.n_embd}), not to this one; it is kept; this run is named {config.training.name}"
        )
    if of_this_name is not None:
        log(f"resuming {of_this_name}")
        return of_this_name
    return None
