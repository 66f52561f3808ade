"""Find the settings that suit a checkpoint: speed against quality of its texts, measured on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sunfish.commands.flags import print_json, user_path
from sunfish.commands.parser import Parser
from sunfish.commands.sampling_flags import (
    add_checkpoint,
    add_compile_flag,
    add_device_flags,
    load_pipeline,
    read_prompts,
)
from sunfish.config import Config, GenerationConfig
from sunfish.config.data import STORIES
from sunfish.config.generation import MAX_TEXTS
from sunfish.config.rules import check_at_least
from sunfish.utils import UsageError, log

if TYPE_CHECKING:
    from sunfish.sampling.autotune import Measurement

ROW = "{:<52} {:>8} {:>8} {:>8}  {}"


def add(parser: Parser) -> None:
    """The flags of ``sunfish bench``."""
    parser.add_argument("what", choices=("sample",), help="what to measure: sampling")
    add_checkpoint(parser)
    parser.add_argument(
        "--texts", type=int, default=24, metavar="N", help="texts for each setting (%(default)s)"
    )
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0, GenerationConfig.guidance_scale],
        metavar="FLOAT",
        help=f"guidance scales (1 {GenerationConfig.guidance_scale:g})",
    )
    parser.add_argument(
        "--prompt-file",
        metavar="PATH",
        help="prompts, one on each line (for models of the built-in stories: held-out ones)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the texts (%(default)s)")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="CPU threads; 0: OMP_NUM_THREADS, else one per core",
    )
    parser.add_argument(
        "--write",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the recommended settings in the checkpoint, where sample finds them",
    )
    add_device_flags(parser)
    add_compile_flag(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, recommend, keep."""
    from sunfish.hardware.device import set_threads
    from sunfish.sampling.autotune import (
        by_likelihood,
        by_oracle,
        candidates,
        measure,
        pareto_front,
        recommend,
    )
    from sunfish.sampling.generation_config import write_generation_config

    check_at_least(arguments, 1, "texts", most=MAX_TEXTS)
    check_at_least(arguments, 0, "seed", "threads")
    _check_may_write(arguments)
    configs = candidates(arguments.scales)
    prompts, is_stories = _prompts(arguments)
    set_threads(arguments.threads)
    pipeline = load_pipeline(arguments)
    judge = by_oracle if is_stories else by_likelihood
    measurements: list[Measurement] = []
    for measurement in measure(pipeline, prompts, configs, judge, arguments.seed):
        measurements.append(measurement)
        log(
            f"{len(measurements)} of {len(configs)}: {_label(measurement.config)} {measurement.seconds:.2f} "
            f"s, quality {measurement.quality:.3f}"
        )
    best, recommended = pareto_front(measurements), recommend(measurements)
    if arguments.json:
        _print_json(measurements, best, recommended)
    else:
        _print_table(measurements, best, recommended)
    if arguments.write:
        from sunfish.checkpoint.links import resolve_checkpoint

        checkpoint = resolve_checkpoint(user_path(arguments.checkpoint))
        path = write_generation_config(checkpoint, recommended)
        log(f"wrote {path}; --fast chooses the faster one")
    return 0


def _check_may_write(arguments: argparse.Namespace) -> None:
    """Refuse to keep settings in the package itself."""
    from sunfish.checkpoint.links import resolve_checkpoint
    from sunfish.checkpoint.packaged import DEMO, DEMO_FOLDER

    if arguments.write and resolve_checkpoint(user_path(arguments.checkpoint)) == DEMO_FOLDER:
        raise UsageError(f"{DEMO} is part of the package, which keeps no settings; give --no-write")


def _prompts(arguments: argparse.Namespace) -> tuple[list[str], bool]:
    """A prompt for each text, and whether the model was trained on the built-in stories."""
    from sunfish.checkpoint.folder import read_metadata
    from sunfish.data.stories import story

    path = user_path(arguments.checkpoint)
    data = Config.from_dict(read_metadata(path)["config"]).corpus.data
    if arguments.prompt_file:
        prompts = read_prompts(user_path(arguments.prompt_file))
        return [prompts[i % len(prompts)] for i in range(arguments.texts)], data == STORIES
    if data != STORIES:
        raise UsageError(f"{path} was trained on {data}; give prompts for it with --prompt-file")
    return [story(1, "test", i).prompt for i in range(arguments.texts)], True


def _print_json(
    measurements: Sequence[Measurement],
    best: Sequence[Measurement],
    recommended: dict[str, GenerationConfig],
) -> None:
    points = [
        {
            "setting": _label(measurement.config),
            "seconds": measurement.seconds,
            "quality": measurement.quality,
            **measurement.parts,
            "frontier": measurement in best,
        }
        for measurement in measurements
    ]
    print_json({"points": points, "recommended": {name: _label(c) for name, c in recommended.items()}})


def _print_table(
    measurements: Sequence[Measurement],
    best: Sequence[Measurement],
    recommended: dict[str, GenerationConfig],
) -> None:
    parts = list(measurements[0].parts)
    print(ROW.format("sampler/block, steps, guidance", "s/text", *parts, "quality"))
    for measurement in sorted(measurements, key=lambda m: m.seconds):
        figures = [f"{measurement.parts[part]:.3f}" for part in parts]
        mark = "  on the frontier" if measurement in best else ""
        quality = f"{measurement.quality:.3f}{mark}"
        print(ROW.format(_label(measurement.config), f"{measurement.seconds:.3f}", *figures, quality))
    for name, config in recommended.items():
        print(f"{name}: {_label(config)}")


def _label(config: GenerationConfig) -> str:
    steps = "" if config.is_verified else f", {config.num_steps} steps"
    lenience = f", lenience {config.lenience:g}" if config.lenience < 1 else ""
    return f"{config.sampler}/{config.block_length}{steps}{lenience}, guidance {config.guidance_scale:g}"
