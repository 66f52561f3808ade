"""Fill the gaps of a text; the given words stay as they are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sunfish.commands.flags import WrongUse
from sunfish.commands.sample import run_infill
from sunfish.commands.sampling_flags import CHECKPOINT, add_common


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of ``sunfish infill``."""
    add_common(parser)
    parser.add_argument(
        "--text", metavar="TEXT", help="a text with gaps: [MASK], or [MASK:5] for five tokens"
    )
    parser.add_argument(
        "--file",
        metavar="PATH",
        help="the text from a file; -: from stdin; sunfish infill FILE.txt does the same",
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what the text is about")


def run(arguments: argparse.Namespace) -> int:
    """Fill the gaps."""
    if Path(arguments.checkpoint).suffix == ".txt" and arguments.text is None and arguments.file is None:
        arguments.file, arguments.checkpoint = arguments.checkpoint, CHECKPOINT
    if (arguments.text is None) == (arguments.file is None):
        raise WrongUse("give the text with its gaps as --text or as --file")
    text = arguments.text
    if arguments.file == "-":
        text = sys.stdin.read()
    elif arguments.file:
        text = Path(arguments.file).read_text(encoding="utf-8")
    return run_infill(arguments, text.rstrip("\n") if arguments.file else text, arguments.prompt)
