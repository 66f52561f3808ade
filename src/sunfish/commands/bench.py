"""Find the settings that suit a checkpoint: time against quality of its texts, measured on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sunfish.commands.flags import WrongUse, print_json
from sunfish.commands.sample import read_prompts
from sunfish.commands.sampling_flags import CHECKPOINT, GUIDANCE, add_speed
from sunfish.config import Config
from sunfish.utils import log

if TYPE_CHECKING:
    from sunfish.sampling.autotune import Point
    from sunfish.sampling.generation_config import Generation

ROW = "{:<52} {:>8} {:>8} {:>8}  {}"


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of ``sunfish bench``."""
    parser.add_argument("what", choices=("sample",), help="what to measure: sampling")
    parser.add_argument("checkpoint", nargs="?", default=CHECKPOINT, help="checkpoint (%(default)s)")
    parser.add_argument(
        "--texts", type=int, default=24, metavar="N", help="texts for each setting (%(default)s)"
    )
    parser.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0, GUIDANCE],
        metavar="FLOAT",
        help="guidance scales (1 3)",
    )
    parser.add_argument("--prompt-file", metavar="PATH",
                        help="prompts, one on each line (for models of the built-in stories: held-out ones)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the texts (%(default)s)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads; 0: all cores")
    parser.add_argument(
        "--write", action=argparse.BooleanOptionalAction, default=True,
        help="keep the recommended settings in the checkpoint, where sample finds them",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (%(default)s)")
    add_speed(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, recommend, keep."""
    from sunfish.checkpoint.folder import read_about

    if arguments.texts < 1:
        raise WrongUse(f"texts is {arguments.texts}, but at least 1 has to be written")
    path = Path(arguments.checkpoint)
    config = Config.from_dict(read_about(path)["config"])
    stories = config.corpus.data == "stories"
    if not stories and not arguments.prompt_file:
        raise WrongUse(f"{path} was trained on {config.corpus.data}; give prompts for it with --prompt-file")
    from sunfish.data.stories import story
    from sunfish.hardware.device import choose_device, set_threads
    from sunfish.sampling.autotune import by_likelihood, by_oracle, candidates, frontier, measure, recommend
    from sunfish.sampling.generation_config import write_generation
    from sunfish.sampling.pipeline import Pipeline

    set_threads(arguments.threads)
    pipeline = Pipeline.from_checkpoint(
        path, choose_device(arguments.device), arguments.precision, arguments.compile
    )
    if arguments.prompt_file:
        given = read_prompts(Path(arguments.prompt_file))
        prompts = [given[i % len(given)] for i in range(arguments.texts)]
    else:
        prompts = [story(1, "test", i).prompt for i in range(arguments.texts)]
    judge = by_oracle if stories else by_likelihood
    ways = candidates(arguments.scales)
    points = []
    for number, point in enumerate(measure(pipeline, prompts, ways, judge, arguments.seed), start=1):
        points.append(point)
        log(
            f"{number} of {len(ways)}: {_label(point.generation)} {point.seconds:.2f} s, quality {point.quality:.3f}"
        )
    kept, found = frontier(points), recommend(points)
    if arguments.json:
        print_json({
            "points": [_record(point) | {"frontier": point in kept} for point in points],
            "recommended": {name: _label(way) for name, way in found.items()},
        })  # fmt: skip
    else:
        parts = list(points[0].parts)
        print(ROW.format("sampler/block, steps, guidance", "s/text", *parts, "quality"))
        for point in sorted(points, key=lambda p: p.seconds):
            shown = [f"{point.parts[part]:.3f}" for part in parts]
            mark = "  on the frontier" if point in kept else ""
            print(
                ROW.format(
                    _label(point.generation), f"{point.seconds:.3f}", *shown, f"{point.quality:.3f}{mark}"
                )
            )
        for name, way in found.items():
            print(f"{name}: {_label(way)}")
    if arguments.write:
        log(f"wrote {write_generation(path.resolve(), found)}; --fast chooses the faster one")
    return 0


def _label(way: Generation) -> str:
    settings = way.settings
    steps = "" if settings.verifies else f", {settings.num_steps} steps"
    steps += f", {settings.revisions} revisions" if settings.revisions else ""
    steps += f", lenience {settings.lenience:g}" if settings.lenience < 1 else ""
    return f"{settings.sampler}/{settings.block_length}{steps}, guidance {way.guidance_scale:g}"


def _record(point: Point) -> dict[str, object]:
    return {
        "setting": _label(point.generation),
        "seconds": point.seconds,
        "quality": point.quality,
        **point.parts,
    }
