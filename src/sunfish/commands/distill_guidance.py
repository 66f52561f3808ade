"""Train a copy of a checkpoint that guides in one pass: it takes the guidance scale as an input."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sunfish.commands.flags import (
    add_config_flags,
    given_fields,
    print_config,
    user_path,
    with_user_paths,
)
from sunfish.commands.parser import Parser
from sunfish.config import Config
from sunfish.utils import UsageError

FIELDS = (
    *(
        "name",
        "max_minutes",
        "max_steps",
        "batch_size",
        "seed",
        "threads",
        "data_folder",
        "checkpoints",
        "device",
        "precision",
    ),
    *("learning_rate", "matrix_learning_rate", "log_every", "eval_every", "eval_texts", "save_minutes"),
)
MAX_MINUTES = 10.0
LEARNING_RATE_SCALE = 0.2  # of the teacher's rates: the copy knows the language already


def add(parser: Parser) -> None:
    """The flags of ``sunfish distill-guidance``."""
    parser.add_argument("teacher_checkpoint", metavar="CHECKPOINT", help="the checkpoint that teaches")
    parser.add_argument("--cpu", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and stop"
    )
    parser.epilog = (
        f"Settings that are not given are the teacher's, except for {MAX_MINUTES:g} minutes and "
        f"{LEARNING_RATE_SCALE:g} times its learning rates."
    )
    add_config_flags(parser, FIELDS, has_presets=False)


def run(arguments: argparse.Namespace) -> int:
    """Configure the copy like its teacher, and train it."""
    from sunfish.checkpoint.folder import read_metadata
    from sunfish.training.ranks import Ranks

    if (size := Ranks.launched(os.environ).size) > 1:
        raise UsageError(f"distill-guidance trains in one process, but {size} were started; start it alone")
    path = user_path(arguments.teacher_checkpoint)
    config = student_config(Config.from_dict(read_metadata(path)["config"]), path, arguments)
    if arguments.print_config:
        print_config(config)
        return 0
    from sunfish.training.trainer import train

    print(train(config))
    return 0


def student_config(teacher: Config, path: Path, arguments: argparse.Namespace) -> Config:
    """The configuration of the copy: the teacher's, with the given fields.

    Args:
        teacher: the configuration of the checkpoint that teaches.
        path: that checkpoint.
        arguments: the flags of the command.

    Raises:
        UsageError: for a teacher that guides in one pass already, and for a wrong value.
    """
    from sunfish.checkpoint.links import resolve_checkpoint

    training = teacher.training
    if training.distills:
        raise UsageError(f"{path} guides in one pass already; sample it as it is")
    given = given_fields(arguments)
    values = {
        "name": f"{training.name}-one-pass",
        "teacher": str(resolve_checkpoint(path).resolve()),
        "max_minutes": 0.0 if "max_steps" in given else MAX_MINUTES,
        "max_steps": 0,
        "complementary": False,
        "gradient_accumulation": 1,
        "parallel": "ddp",
        "learning_rate": LEARNING_RATE_SCALE * training.learning_rate,
        "matrix_learning_rate": LEARNING_RATE_SCALE * training.matrix_learning_rate,
    }
    return with_user_paths(teacher.with_fields(**{**values, **given}))
