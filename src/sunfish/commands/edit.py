"""Rewrite some words of a text; all others stay as they are."""

from __future__ import annotations

import argparse
import re

from sunfish.commands.display import show
from sunfish.commands.infill import add_particles_flag, given_text, warn_of_few
from sunfish.commands.parser import Parser
from sunfish.commands.sampling_flags import add_common_flags, open_pipeline, print_checkpoint_config
from sunfish.config.generation import MAX_PARTICLES
from sunfish.config.rules import check_at_least, shown
from sunfish.utils import UsageError, log

RANGE = re.compile(r"\s*(\d{1,9})\s*:\s*(\d{1,9})\s*")


def add(parser: Parser) -> None:
    """The flags of ``sunfish edit``."""
    add_common_flags(parser, left_out=("block_length", "lenience", "sampler", "num_steps"))
    parser.add_argument("--text", metavar="TEXT", help="the text")
    parser.add_argument("--file", metavar="PATH", help="the text from a file; -: from stdin")
    parser.add_argument(
        "--replace",
        action="append",
        default=[],
        metavar="WORDS",
        help="words of the text that are written anew; repeatable",
    )
    parser.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="START:END",
        help="characters that are written anew, counted from 0, END left out; repeatable",
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="what the new words answer to")
    add_particles_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Rewrite the words, and show the texts, the likeliest first."""
    from sunfish.sampling.editing import MOST_ALTERNATIVES, check_spans, find_spans, rewrite

    check_at_least(arguments, 0, "seed")
    check_at_least(arguments, 1, "num_samples", most=MOST_ALTERNATIVES)
    check_at_least(arguments, 1, "particles", most=MAX_PARTICLES)
    text = given_text(arguments)
    spans = check_spans(text, [*find_spans(text, arguments.replace), *map(_span, arguments.range)])
    if arguments.print_config:
        print_checkpoint_config(arguments)
        return 0
    pipeline, config = open_pipeline(arguments, prompted=bool(arguments.prompt), fills=True)
    texts = rewrite(
        pipeline,
        text,
        spans,
        arguments.prompt,
        config,
        seed=arguments.seed,
        n=arguments.num_samples,
        num_particles=arguments.particles,
    )
    show(texts, arguments.json)
    if len(texts) < arguments.num_samples:
        log(f"note: the model finds only {len(texts)} different texts; more --particles may find others")
    warn_of_few(texts)
    return 0


def _span(words: str) -> tuple[int, int]:
    match = RANGE.fullmatch(words)
    if not match:
        raise UsageError(f"--range is {shown(words)}; give START:END, such as 10:25")
    return int(match[1]), int(match[2])
