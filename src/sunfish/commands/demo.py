"""See a story condense, a gap filled, and the page, with the model that comes with SunFish."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser

from sunfish.checkpoint.packaged import DEMO, DEMO_FOLDER
from sunfish.commands import serve
from sunfish.commands.display import show, watch
from sunfish.commands.parser import Parser
from sunfish.config.rules import check_at_least
from sunfish.utils import log

PROMPT = "Write a story about a robot"
GAPPED = "Once upon a time, there was a small dog named Leo. [MASK] In the end, Leo got a big, warm hug."
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
    """Write, fill, say what to try next, and open the page."""
    from sunfish.sampling.pipeline import Pipeline

    check_at_least(arguments, 0, "seed")
    pipeline = Pipeline.from_checkpoint(DEMO_FOLDER)
    log(f"prompt: {arguments.prompt}")
    show([watch(pipeline.stream(arguments.prompt, seed=arguments.seed))], as_json=False)
    log(f"filling the gap: {GAPPED}")
    show(pipeline.infill(GAPPED, seed=arguments.seed), as_json=False)
    log(NEXT)
    return open_page()


def open_page() -> int:
    """At a terminal, serve the page until Ctrl+C and open it in the browser; else say how to see it."""
    if not (os.isatty(0) and os.isatty(1)):  # by number: a closed stdin is no object
        log(f"the page: sunfish serve {DEMO}, then open http://127.0.0.1:8000")
        return 0
    parser = Parser()
    serve.add(parser)
    arguments = parser.parse_args([DEMO_FOLDER.as_posix(), "--port", "0"])
    try:
        return serve.serve(arguments, _browse)
    except ImportError as why:  # the extra is not installed, which all the rest does without
        log(f"no page: {why}")
        return 0


def _browse(port: int) -> None:
    """Open the page; where there is no screen, its address is for another browser."""
    address = f"http://127.0.0.1:{port}"
    log(f"the page: {address}")
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)
