"""Fill the gaps of a text; the given words stay as they are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sunfish.commands.display import show
from sunfish.commands.flags import given_fields, user_path
from sunfish.commands.parser import Parser
from sunfish.commands.sampling_flags import (
    CHECKPOINT,
    add_common_flags,
    open_pipeline,
    print_checkpoint_config,
)
from sunfish.config.generation import MAX_TEXTS
from sunfish.config.rules import check_at_least
from sunfish.utils import UsageError


def add(parser: Parser) -> None:
    """The flags of ``sunfish infill``."""
    add_common_flags(parser, left_out=("block_length", "lenience"))
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
    file, text = arguments.file, arguments.text
    if Path(arguments.checkpoint).suffix == ".txt" and text is None and file is None:
        file, arguments = (
            arguments.checkpoint,
            argparse.Namespace(**vars(arguments) | {"checkpoint": CHECKPOINT}),
        )
    if (text is None) == (file is None):
        raise UsageError("give the text with its gaps as --text or as --file")
    if file is not None:
        text = _read(file)
    return fill(arguments, text, arguments.prompt)


def _read(file: str) -> str:
    """The text of ``file``, or of stdin for ``-``: letter by letter, but for the end of its last line."""
    from sunfish.text_files import read_stream

    source = sys.stdin.fileno() if file == "-" else user_path(file)
    with open(source, "rb", closefd=file != "-") as binary:
        text = read_stream(binary, "stdin" if file == "-" else file, newline="")
    return text.removesuffix("\n").removesuffix("\r")


def fill(arguments: argparse.Namespace, text: str, prompt: str) -> int:
    """Fill the gaps of ``text`` and show the results.

    Raises:
        UsageError: for a text without a gap, and for settings that fill none.
    """
    from sunfish.sampling.infilling import infill, parse

    check_at_least(arguments, 0, "seed")
    check_at_least(arguments, 1, "num_samples", most=MAX_TEXTS)
    if "block_length" in given_fields(arguments):
        raise UsageError("gaps are filled in one block, the whole text; leave out block_length")
    parse(text)  # before the model is loaded
    if arguments.print_config:
        print_checkpoint_config(arguments)
        return 0
    pipeline, config = open_pipeline(arguments, prompted=bool(prompt), stepped=True)
    texts = infill(
        pipeline, text, config, prompt=prompt, seed=arguments.seed, num_samples=arguments.num_samples
    )
    show(texts, arguments.json)
    return 0
