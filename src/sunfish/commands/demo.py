"""See a story condense and a gap filled, by the model that comes with SunFish."""

from __future__ import annotations

import argparse

from sunfish.checkpoint.packaged import DEMO_FOLDER
from sunfish.commands.display import show, watch
from sunfish.commands.parser import Parser
from sunfish.config.rules import check_at_least
from sunfish.utils import log

PROMPT = "Write a story about a robot"
GAPPED = "One day a robot named Mia lost her red kite. [MASK] Mia hugged the kite and went home."
NEXT = """next:
  sunfish sample demo --prompt "Write a story about a dragon" --num-samples 3
  sunfish edit demo --text "A small lion went home." --replace lion --prompt "Write about a robot"
  sunfish train --config tiny    (twenty minutes: a model of your own)"""


def add(parser: Parser) -> None:
    """The flags of ``sunfish demo``."""
    parser.add_argument("--prompt", default=PROMPT, metavar="TEXT", help="what to write about (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same text (%(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write, fill, and say what to try next."""
    from sunfish.sampling.pipeline import Pipeline

    check_at_least(arguments, 0, "seed")
    pipeline = Pipeline.from_checkpoint(DEMO_FOLDER)
    log(f"prompt: {arguments.prompt}")
    show([watch(pipeline.stream(arguments.prompt, seed=arguments.seed))], as_json=False)
    log(f"filling the gap: {GAPPED}")
    show(pipeline.infill(GAPPED, seed=arguments.seed), as_json=False)
    log(NEXT)
    return 0
