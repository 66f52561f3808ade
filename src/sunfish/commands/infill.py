"""Fill the gaps of a text; the given words stay as they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sunfish.commands.display import show
from sunfish.commands.flags import given_fields, user_path
from sunfish.commands.parser import Parser
from sunfish.commands.sampling_flags import (
    CHECKPOINT,
    add_common_flags,
    open_pipeline,
    print_checkpoint_config,
)
from sunfish.config.generation import MAX_PARTICLES, MAX_TEXTS, MIN_SAMPLE_SIZE, NUM_PARTICLES
from sunfish.config.rules import check_at_least, whole_number
from sunfish.utils import UsageError, log

if TYPE_CHECKING:
    from sunfish.sampling.infilling import Infilled


def add(parser: Parser) -> None:
    """The flags of ``sunfish infill``."""
    add_common_flags(parser, left_out=("block_length", "lenience"))
    parser.add_argument(
        "--text", metavar="TEXT", help="a text with gaps: [MASK], [MASK:5] for five tokens, or [MASK:2-12]"
    )
    parser.add_argument(
        "--file",
        metavar="PATH",
        help="the text from a file; -: from stdin; sunfish infill FILE.txt does the same",
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what the text is about")
    add_particles_flag(parser)


def add_particles_flag(parser: Parser) -> None:
    """How many fills are compared."""
    parser.add_argument(
        "--particles",
        type=int,
        default=NUM_PARTICLES,
        metavar="N",
        help="fills that are compared; more are nearer to the posterior, and slower (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Fill the gaps."""
    file, text = arguments.file, arguments.text
    if Path(arguments.checkpoint).suffix == ".txt" and text is None and file is None:
        changed = {"checkpoint": CHECKPOINT, "file": arguments.checkpoint}
        arguments = argparse.Namespace(**vars(arguments) | changed)
    return fill(arguments, given_text(arguments), arguments.prompt, arguments.particles)


def given_text(arguments: argparse.Namespace) -> str:
    """The text of ``--text`` or ``--file``.

    Raises:
        UsageError: for none of them, or both.
    """
    if (arguments.text is None) == (arguments.file is None):
        raise UsageError("give the text as --text or as --file")
    return _read(arguments.file) if arguments.file is not None else str(arguments.text)


def _read(file: str) -> str:
    """The text of ``file``, or of stdin for ``-``: letter by letter, but for the end of its last line."""
    from sunfish.text_files import read_stream

    source = sys.stdin.fileno() if file == "-" else user_path(file)
    with open(source, "rb", closefd=file != "-") as binary:
        text = read_stream(binary, "stdin" if file == "-" else file, newline="")
    return text.removesuffix("\n").removesuffix("\r")


def fill(arguments: argparse.Namespace, text: str, prompt: str, particles: int) -> int:
    """Fill the gaps of ``text`` and show the results.

    Raises:
        UsageError: for a text without a gap, and for settings that fill none.
    """
    from sunfish.sampling.gaps import parse
    from sunfish.sampling.infilling import infill

    check_at_least(arguments, 0, "seed")
    check_at_least(arguments, 1, "num_samples", most=MAX_TEXTS)
    whole_number("particles", particles, 1, MAX_PARTICLES)
    if "block_length" in given_fields(arguments):
        raise UsageError("gaps are filled without blocks; leave out block_length")
    parse(text)  # before the model is loaded
    if arguments.print_config:
        print_checkpoint_config(arguments)
        return 0
    pipeline, config = open_pipeline(arguments, prompted=bool(prompt), fills=True)
    texts = infill(
        pipeline,
        text,
        config,
        prompt=prompt,
        seed=arguments.seed,
        num_samples=arguments.num_samples,
        num_particles=particles,
    )
    show(texts, arguments.json)
    warn_of_few(texts)
    return 0


def warn_of_few(texts: Sequence[Infilled]) -> None:
    """Say which texts rest on so few fills that chance decided."""
    few = [
        text
        for text in texts
        if text.effective_sample_size is not None and text.effective_sample_size < MIN_SAMPLE_SIZE
    ]
    if few:
        size = min(text.effective_sample_size or 0.0 for text in few)
        which = "this text rests" if len(texts) == 1 else f"{len(few)} of {len(texts)} texts rest"
        log(f"note: {which} on few fills (effective sample size {size:.1f}); give more --particles")
