"""From flags to a loaded model and the settings of sampling; what sample, infill and bench share."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sunfish.checkpoint.packaged import DEMO
from sunfish.commands.flags import add_generation_flags, given_fields, print_config, user_path
from sunfish.commands.parser import Parser
from sunfish.config import Config, GenerationConfig
from sunfish.config.rules import shown
from sunfish.utils import UsageError, log

if TYPE_CHECKING:
    from sunfish.sampling.pipeline import Pipeline

CHECKPOINT = "checkpoints/last.ckpt"
STEPPED = "leftmost"  # stands for the default sampler of the checkpoint's process until that is loaded


def add_checkpoint(parser: Parser) -> None:
    """The checkpoint that is read."""
    parser.add_argument(
        "checkpoint",
        nargs="?",
        default=CHECKPOINT,
        help=f"checkpoint, or {DEMO}: the model of the package (%(default)s)",
    )


def add_common_flags(parser: Parser, left_out: Collection[str] = ()) -> None:
    """The flags that sampling and infilling share; ``left_out`` are fields of ``GenerationConfig``."""
    add_checkpoint(parser)
    parser.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="texts for each prompt (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same text (%(default)s)"
    )
    parser.add_argument(
        "--also",
        action="append",
        nargs=2,
        default=[],
        metavar=("TEXT", "WEIGHT"),
        help="a further prompt and its weight, where --prompt has 1; repeatable",
    )
    parser.add_argument("--scheduler", choices=("ddpm", "ddim"), help=argparse.SUPPRESS)
    add_device_flags(parser)
    parser.add_argument("--cpu", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--print-config", action="store_true", help="print the checkpoint's configuration and stop"
    )
    add_generation_flags(parser, left_out)


def add_device_flags(parser: Parser) -> None:
    """Where the model is loaded, and in which number format."""
    parser.add_argument("--device", default="auto", metavar="STR", help="auto, cpu, cuda (%(default)s)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8"),
        default="float32",
        help="int8 is faster on a CPU and takes a quarter of the memory, bfloat16 half of it (%(default)s)",
    )


def add_compile_flag(parser: Parser) -> None:
    """Whether passes are compiled."""
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the passes: a minute once, seconds in later runs, then faster; pays for many texts",
    )


def print_checkpoint_config(arguments: argparse.Namespace) -> None:
    """The configuration that the checkpoint was trained with, on stdout."""
    from sunfish.checkpoint.folder import read_metadata

    print_config(Config.from_dict(read_metadata(user_path(arguments.checkpoint))["config"]))


def _folder_of(arguments: argparse.Namespace) -> Path:
    """The folder of the checkpoint; as it was given where there is none, which loading the model says later."""
    from sunfish.checkpoint.links import resolve_checkpoint

    path = user_path(arguments.checkpoint)
    try:
        return resolve_checkpoint(path)
    except ValueError:
        return path


def load_pipeline(arguments: argparse.Namespace) -> Pipeline:
    """The checkpoint on the device, in the number format, and compiled if that was asked for."""
    from sunfish.hardware.device import choose_device
    from sunfish.sampling.pipeline import Pipeline

    compiles = getattr(arguments, "compile", False)
    if compiles:
        log("note: compiling takes about a minute with the first text, seconds if it has been done before")
    device = choose_device("cpu" if getattr(arguments, "cpu", False) else arguments.device)
    return Pipeline.from_checkpoint(
        user_path(arguments.checkpoint), device, arguments.precision, compile=compiles
    )


def open_pipeline(
    arguments: argparse.Namespace, *, prompted: bool, fills: bool = False
) -> tuple[Pipeline, GenerationConfig]:
    """The loaded model, and the checkpoint's own settings of sampling with the given ones in their place.

    Args:
        arguments: the flags of the command.
        prompted: whether there is a prompt to guide by.
        fills: whether gaps are filled: by ``verified``, without guidance, where nothing else is given.

    Raises:
        UsageError: before the model is loaded, for settings that are wrong, or that have no effect.
    """
    from sunfish.sampling.generation_config import read_generation_config, settings_for

    given = _given_settings(arguments)
    which = "fast" if getattr(arguments, "fast", False) else "best"
    if "composed_prompts" in given and not prompted:
        raise UsageError("--also adds to a prompt; give one with --prompt")
    base = read_generation_config(_folder_of(arguments), which)
    if not prompted and given.get("guidance_scale", 0) > 0 and not given.get("negative_prompt"):
        log("note: guidance needs a prompt (--prompt); without one it changes nothing")
    config = settings_for(base, given, prompted=prompted, fills=fills, default_sampler=STEPPED)
    if getattr(arguments, "compile", False) and config.block_length == 0:
        raise UsageError(
            "--compile is for passes that continue a text, but block_length is 0, so there are none; "
            "give one of the two"
        )
    pipeline = load_pipeline(arguments)
    sampler = pipeline.process.default_sampler
    return pipeline, settings_for(base, given, prompted=prompted, fills=fills, default_sampler=sampler)


def _given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``GenerationConfig`` that were given, under whatever names."""
    given = given_fields(arguments)
    if arguments.scheduler and given.setdefault("sampler", arguments.scheduler) != arguments.scheduler:
        raise UsageError(
            f"--scheduler is {arguments.scheduler} and --sampler {given['sampler']}: give one of the two"
        )
    if arguments.also:
        given["composed_prompts"] = tuple((text, _weight(text, weight)) for text, weight in arguments.also)
    return given


def _weight(text: str, weight: str) -> float:
    try:
        return float(weight)
    except ValueError as why:
        raise UsageError(
            f"--also {shown(text)} has weight {shown(weight)}; give a number such as 0.5"
        ) from why


def read_prompts(path: Path) -> list[str]:
    """The lines of ``path`` that are not blank.

    Raises:
        ValueError: where there is none, or where the file is no text.
    """
    from sunfish.text_files import read_text

    lines = map(str.strip, read_text(path).split("\n"))
    prompts = [line for line in lines if line]
    if not prompts:
        raise ValueError(f"{path} holds no prompt; write one on each line")
    return prompts
