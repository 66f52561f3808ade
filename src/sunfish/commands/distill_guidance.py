"""Teach a model to guide in one pass: a copy that takes the guidance scale in, taught by a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from sunfish.commands.flags import WrongUse, add_config_flags, given_fields, print_config
from sunfish.config import Config

FIELDS = (
    "name", "max_minutes", "max_steps", "batch_size", "seed", "threads", "data_folder", "checkpoints", "device",
    "learning_rate", "matrix_learning_rate", "eval_every", "sample_every", "save_every", "save_minutes",
    "eval_texts",
)  # fmt: skip
MINUTES = 10.0
SLOWER = 0.2  # of the rates the teacher was trained with: it knows the language already


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of ``sunfish distill-guidance``."""
    parser.add_argument("teacher_checkpoint", metavar="CHECKPOINT", help="the checkpoint that teaches")
    parser.add_argument("--cpu", action="store_true", help="the same as --device cpu")
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration and stop"
    )
    add_config_flags(parser, FIELDS)


def run(arguments: argparse.Namespace) -> int:
    """Configure the copy after its teacher, and train it."""
    from sunfish.checkpoint.folder import read_about

    path = Path(arguments.teacher_checkpoint)
    config = student_config(Config.from_dict(read_about(path)["config"]), path, arguments)
    if arguments.print_config:
        print_config(config)
        return 0
    from sunfish.training.trainer import train

    print(train(config))
    return 0


def student_config(teacher: Config, path: Path, arguments: argparse.Namespace) -> Config:
    """The teacher's configuration, with the scale as an input, ``MINUTES`` to learn it, and the given flags."""
    if teacher.model.guidance_input:
        raise WrongUse(f"{path} has learned one-pass guidance already; sample it as it is")
    training = teacher.training
    values = {
        "name": f"{training.name}-one-pass",
        "teacher": str(path.resolve()),
        "guidance_input": True,
        "max_minutes": MINUTES,
        "max_steps": 0,
        "read_first": 0.0,
        "complementary": False,
        "learning_rate": SLOWER * training.learning_rate,
        "matrix_learning_rate": SLOWER * training.matrix_learning_rate,
    }
    given = given_fields(arguments)
    if "max_steps" in given:
        values["max_minutes"] = 0.0
    try:
        return teacher.with_fields(**{**values, **given})
    except ValueError as error:
        raise WrongUse(str(error)) from error
