"""From flags to how a text is written: the sampling flags, and the loaded model with its settings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sunfish.commands.flags import WrongUse, print_config
from sunfish.config import Config
from sunfish.utils import log

if TYPE_CHECKING:
    from sunfish.config.sampling import SamplingSettings
    from sunfish.sampling.generation_config import Generation
    from sunfish.sampling.pipeline import Pipeline

# The defaults of sunfish.sampling.block_diffusion.SamplingSettings, whose import would load torch; a test compares them.
DEFAULTS: dict[str, Any] = {
    "num_steps": 20, "block_length": 8, "sampler": "verified", "temperature": 0.5, "plausibility": 0.3,
    "negative_prompt": "", "also": (), "guidance_interval": (0.0, 1.0),
    "guidance_schedule": "constant", "revisions": 0, "top_p": 1.0, "lenience": 1.0,
}  # fmt: skip
CHECKPOINT = "checkpoints/last.ckpt"
GUIDANCE = 3.0


def add_common(parser: argparse.ArgumentParser) -> None:
    """What sampling and infilling have in common."""
    parser.add_argument("checkpoint", nargs="?", default=CHECKPOINT, help="checkpoint (%(default)s)")
    parser.add_argument(
        "--num-samples", type=int, default=1, metavar="N", help="texts for each prompt (%(default)s)"
    )
    parser.add_argument("--guidance-scale", type=float, metavar="FLOAT",
                        help=f"0 ignores the prompt, 1 follows it, above 1 insists ({GUIDANCE})")  # fmt: skip
    helps = {
        "num_steps": "denoising steps of each block; takes leftmost (or the process's own) where no --sampler is given",
        "block_length": "tokens denoised together; 0: the whole text",
        "sampler": "verified (drafts, then checks; verified:1: both in one pass), leftmost (reading order), prefix:0.5, "
        "threshold:0.9, entropy:0.1 (several at once where sure), confidence, remask:0.05, first-hitting, ancestral "
        "(exact); gaussian: ddpm, ddim:0",
        "temperature": "below 1 is safer, 0 takes the likeliest",
        "negative_prompt": "what guidance above 1 shall lead away from",
        "also": "a further prompt and its weight beside --prompt, whose weight is 1; repeatable",
        "guidance_interval": "the part of the denoising, from 0 (all noise) to 1, in which guidance is on",
        "guidance_schedule": "constant, or rising: from 1 at the beginning of each block to the full scale at its end",
        "revisions": "rounds in which the memory reads each block and the canvas writes anew what is unlikely",
        "top_p": "draw only among the likeliest tokens that together have this probability",
        "lenience": "verified: 1 is exact; 0.5 takes drafted tokens up to twice too often, and is faster",
        "plausibility": "guidance may only choose tokens of this share of the likeliest one's probability; 0: any",
    }
    for name, default in DEFAULTS.items():
        flag, kind = "--" + name.replace("_", "-"), type(default)
        text = f"{helps[name]} ({default})" if default not in ("", ()) else helps[name]
        options: dict[str, Any]
        if name == "also":
            options = {"action": "append", "nargs": 2, "metavar": ("TEXT", "WEIGHT")}
        elif name == "guidance_interval":
            options = {"type": float, "nargs": 2, "metavar": ("FROM", "TO")}
        else:
            options = {"type": kind, "metavar": kind.__name__.upper()}
        parser.add_argument(flag, help=text, **options)
    parser.add_argument(
        "--scheduler", choices=("ddpm", "ddim"), help="the sampler of a gaussian model; the same as --sampler"
    )
    parser.add_argument(
        "--fast", action="store_true", help="the setting for under a second that sunfish bench found"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed writes the same (%(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (%(default)s)")
    parser.add_argument("--cpu", action="store_true", help="the same as --device cpu")
    add_speed(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--print-config", action="store_true", help="print the checkpoint's configuration and stop"
    )


def add_speed(parser: argparse.ArgumentParser) -> None:
    """The number format of the weights, and whether passes are compiled."""
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "int8"), default="float32",
        help="int8 is faster on a CPU and reads a quarter of the memory; bfloat16 half of it, where the processor "
        "has it (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true",
        help="compile the passes: about a minute once, some seconds in each later run, then faster; pays for many texts",
    )  # fmt: skip


def open_pipeline(
    arguments: argparse.Namespace, prompted: bool
) -> tuple[Pipeline | None, SamplingSettings, float]:
    """The loaded model (``None`` after ``--print-config``), the settings and the guidance scale."""
    if arguments.num_samples < 1:
        raise WrongUse(f"num_samples is {arguments.num_samples}, but it must be at least 1")
    from sunfish.sampling.generation_config import BEST, FAST, read_generation

    path = Path(arguments.checkpoint)
    usual = read_generation(path, FAST if arguments.fast else BEST)
    scale = _scale(arguments, prompted, usual)
    from sunfish.checkpoint.folder import read_about
    from sunfish.hardware.device import choose_device
    from sunfish.sampling.pipeline import Pipeline

    settings = _settings(arguments, prompted, usual)
    if arguments.print_config:
        print_config(Config.from_dict(read_about(path)["config"]))
        return None, settings, scale
    if arguments.compile:
        log(
            "note: compiling takes about a minute with the first text, some seconds when it has been done before"
        )
    device = choose_device("cpu" if arguments.cpu else arguments.device)
    return Pipeline.from_checkpoint(path, device, arguments.precision, arguments.compile), settings, scale


def _scale(arguments: argparse.Namespace, prompted: bool, usual: Generation) -> float:
    """The guidance scale that is asked for, or else the checkpoint's usual one; ``WrongUse`` where it cannot be."""
    scale = arguments.guidance_scale
    guides = prompted or bool(arguments.negative_prompt)
    if scale is None:
        # Without a prompt both sides of guidance are the same.
        scale = usual.guidance_scale if guides else 0.0
    if not 0 <= scale < float("inf"):
        raise WrongUse(f"guidance_scale is {scale}: give 0 (ignore the prompt), 1 (follow it) or more")
    if arguments.negative_prompt and scale <= 1:
        raise WrongUse(f"--negative_prompt needs a --guidance_scale above 1; it is {scale:g}")
    if not guides and scale > 0:
        log("note: guidance needs a prompt (--prompt); without one it changes nothing")
        return 0.0
    return float(scale)


def _settings(arguments: argparse.Namespace, prompted: bool, usual: Generation) -> SamplingSettings:
    """The checkpoint's usual settings with what is asked for; ``WrongUse`` where that does not go together."""
    from sunfish.config.sampling import verified_passes

    given, path = _given(arguments, prompted), Path(arguments.checkpoint)
    stepped = arguments.guidance_interval or arguments.revisions or arguments.guidance_schedule == "rising"
    # verified has no denoising steps, and reads every token anyway
    if stepped and usual.settings.verifies:
        given.setdefault("sampler", stepped_sampler(path))
    if "num_steps" in given and verified_passes(given.get("sampler", usual.settings.sampler)):
        if "sampler" in given:
            raise WrongUse(
                f"--sampler {given['sampler']} has no denoising steps; leave out --num_steps or choose another"
            )
        given["sampler"] = stepped_sampler(path)
    try:
        settings = usual.settings.changed(**given)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    if arguments.compile and settings.block_length == 0:
        raise WrongUse(
            "--compile is for passes behind text that is there already; with --block_length 0 there are none"
        )
    return settings


def _given(arguments: argparse.Namespace, prompted: bool) -> dict[str, Any]:
    """The settings that flags ask for; ``WrongUse`` for a value that is wrong whatever the checkpoint."""
    from sunfish.config.sampling import SamplingSettings
    from sunfish.sampling.unmasking import get_sampler

    if arguments.scheduler:
        if arguments.sampler not in (None, arguments.scheduler):
            raise WrongUse(
                f"--scheduler {arguments.scheduler} and --sampler {arguments.sampler}: give one of them"
            )
        arguments.sampler = arguments.scheduler
    given = {name: value for name in DEFAULTS if (value := getattr(arguments, name)) is not None}
    if arguments.also:
        if not prompted:
            raise WrongUse("--also stands beside a --prompt; give one")
        given["also"] = tuple((text, weight_of(text, weight)) for text, weight in arguments.also)
    if arguments.guidance_interval:
        given["guidance_interval"] = tuple(arguments.guidance_interval)
    try:
        settings = SamplingSettings(**{"sampler": "verified" if arguments.lenience else "leftmost", **given})
        if not settings.verifies:
            get_sampler(settings.sampler)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    return given


def weight_of(text: str, weight: str) -> float:
    """The weight of the further prompt ``text``; ``WrongUse`` where it is none."""
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise WrongUse(f"--also {text[:40]!r} has weight {weight!r}; give a number above 0, such as 0.5")
    return number


def stepped_sampler(checkpoint: Path) -> str:
    """The sampler that walks through denoising steps in the usual way for the checkpoint's process."""
    from sunfish.checkpoint.folder import read_about
    from sunfish.processes import build_process

    return build_process(Config.from_dict(read_about(checkpoint)["config"]).process).samplers[0]
