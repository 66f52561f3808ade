"""Write texts from a checkpoint, with a prompt or without."""

from __future__ import annotations

import argparse

from sunfish.commands.display import show, watch
from sunfish.commands.flags import user_path
from sunfish.commands.infill import fill
from sunfish.commands.parser import Parser
from sunfish.commands.sampling_flags import (
    add_common_flags,
    add_compile_flag,
    open_pipeline,
    print_checkpoint_config,
    read_prompts,
)
from sunfish.config.generation import MAX_TEXTS, NUM_PARTICLES
from sunfish.config.rules import check_at_least
from sunfish.utils import UsageError, log


def add(parser: Parser) -> None:
    """The flags of ``sunfish sample``."""
    add_common_flags(parser)
    add_compile_flag(parser)
    parser.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT", help="what to write about; repeatable"
    )
    parser.add_argument("--prompt-file", metavar="PATH", help="a file with one prompt on each line")
    parser.add_argument(
        "--seq-len",
        type=int,
        metavar="N",
        help="positions of a text, its start mark included (the model's context)",
    )
    parser.add_argument(
        "--best-of",
        type=int,
        default=1,
        metavar="N",
        help="draft N texts for each one and keep the one that fits its prompt best (%(default)s)",
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="stop writing before this text; repeatable",
    )
    parser.add_argument(
        "--fast", action="store_true", help="the best settings under a second that bench found"
    )
    parser.add_argument(
        "--watch", action="store_true", help="show one text as it condenses out of the masks, step by step"
    )
    parser.add_argument("--mode", choices=("generate", "infill"), default="generate", help=argparse.SUPPRESS)
    parser.add_argument("--text", metavar="TEXT", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Write the texts."""
    if arguments.mode == "infill":
        return _infill(arguments)
    if arguments.text is not None:
        raise UsageError("--text is for --mode infill; give a prompt with --prompt")
    check_at_least(arguments, 0, "seed")
    check_at_least(arguments, 1, "num_samples", "best_of", most=MAX_TEXTS)
    prompts = prompts_of(arguments)
    rows = [prompt for prompt in prompts for _ in range(arguments.num_samples)]
    if arguments.watch and len(rows) * arguments.best_of != 1:
        raise UsageError(f"--watch shows one text, but {len(rows) * arguments.best_of} were asked for")
    if arguments.print_config:
        print_checkpoint_config(arguments)
        return 0
    pipeline, config = open_pipeline(arguments, prompted=any(prompts))
    options = {"seq_len": arguments.seq_len, "seed": arguments.seed, "stop": arguments.stop}
    if arguments.watch:
        texts = [watch(pipeline.stream(rows[0], config, **options))]
    else:
        texts = pipeline.generate(rows, config, best_of=arguments.best_of, **options)
    show(texts, arguments.json)
    cut = sum(not text.finished for text in texts)
    if cut:
        _note_cut(cut, len(texts), arguments.seq_len, pipeline.model.config.context_length)
    return 0


def _note_cut(cut: int, texts: int, seq_len: int | None, context_length: int) -> None:
    """Say how to have the ``cut`` of ``texts`` that did not reach their end."""
    length = context_length if seq_len is None else seq_len
    remedy = "allow more with --seq_len, or try another --seed"
    if length <= context_length:
        remedy = (
            f"allow more with --seq_len ({context_length} is the model's context; above that it forgets the "
            "beginning)"
        )
    log(f"note: {cut} of {texts} texts did not finish within {length} positions; {remedy}")


def _infill(arguments: argparse.Namespace) -> int:
    """``--mode infill``: the same as ``sunfish infill --text``."""
    if arguments.text is None:
        raise UsageError(
            '--mode infill needs --text with a gap, for example --text "The [MASK] fell asleep."'
        )
    for flag in ("prompt_file", "seq_len", "stop", "watch", "fast", "compile"):
        if getattr(arguments, flag) not in (None, False, []):
            raise UsageError(
                f"--mode infill fills gaps in passes over the whole text, which do not use --{flag}; leave "
                "it out"
            )
    if len(arguments.prompt) > 1 or arguments.best_of != 1:
        raise UsageError("--mode infill takes one --prompt and no --best_of")
    prompt = arguments.prompt[0] if arguments.prompt else ""
    return fill(arguments, arguments.text, prompt, NUM_PARTICLES)


def prompts_of(arguments: argparse.Namespace) -> list[str]:
    """The prompts in their order; a single empty one where none is given."""
    prompts = list(arguments.prompt)
    if arguments.prompt_file:
        prompts += read_prompts(user_path(arguments.prompt_file))
    return prompts or [""]
