"""The command line: which subcommands there are, how errors and signals become exit codes. Imports no torch.

    sunfish demo | train | sample | infill | edit | serve | push | pull | distill-guidance | export | bench | data
            | tokenizer | sizes | plan | doctor

Results go to stdout, logs to stderr. Exit codes: 0 done, 1 a failure, 2 wrong use, 128 + n ended by signal n.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Collection, Sequence

from sunfish.commands import (
    bench,
    data,
    demo,
    distill_guidance,
    doctor,
    edit,
    export,
    infill,
    plan,
    pull,
    push,
    sample,
    serve,
    sizes,
    tokenizer,
    train,
)
from sunfish.commands.errors import describe
from sunfish.commands.flags import BaseConfig
from sunfish.commands.parser import Parser
from sunfish.commands.streams import abandon_stdout, lossless_stdout
from sunfish.config.presets import preset
from sunfish.config.rules import shown
from sunfish.hardware.cpu import limit_openmp_spin
from sunfish.signals import handled, interrupt
from sunfish.utils import UsageError, log, open_standard_streams

COMMANDS = {
    "demo": demo,
    "train": train,
    "sample": sample,
    "infill": infill,
    "edit": edit,
    "serve": serve,
    "distill-guidance": distill_guidance,
    "export": export,
    "bench": bench,
    "data": data,
    "tokenizer": tokenizer,
    "push": push,
    "pull": pull,
    "sizes": sizes,
    "plan": plan,
    "doctor": doctor,
}
UNREAD = ("train", "distill-guidance", "serve")  # their results are not on stdout
EXAMPLES = """examples:
  sunfish demo
  sunfish train --config tiny --max-minutes 20
  sunfish train --resume checkpoints/last.ckpt
  sunfish sample --prompt "Write a story about a robot" --guidance-scale 2
  sunfish distill-guidance checkpoints/last.ckpt
  sunfish export checkpoints/last.ckpt model --onnx
  sunfish bench sample checkpoints/last.ckpt
  sunfish infill --text "The robot went to the [MASK] and fell asleep."
  sunfish serve checkpoints/last.ckpt --port 8000
  sunfish push checkpoints/last.ckpt user/robots
  sunfish doctor

Every flag may be written with - or with _. The flags of a subcommand: sunfish COMMAND --help"""


def build_parser(
    base: BaseConfig = preset, used: Collection[str] = COMMANDS.keys()
) -> tuple[Parser, dict[str, Parser]]:
    """The parser of the program, and those of its subcommands by name.

    Args:
        base: As for :func:`main`.
        used: The subcommands that get their flags; those of all of them take most of the time of a start.
    """
    parser = Parser(
        prog="sunfish",
        description="Train a small diffusion language model on this computer, and steer it with prompts.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    commands: dict[str, Parser] = {}
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        commands[name] = command = subparsers.add_parser(name, help=summary, description=summary)
        if name in used:
            module.add(command)
        command.set_defaults(run=module.run, parser=command, base=base)
    return parser, commands


def parse(words: Sequence[str], base: BaseConfig = preset) -> argparse.Namespace:
    """The arguments that ``words`` mean; exits with 2 for wrong use, as argparse does."""
    place = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    parser, commands = build_parser(base, words[place : place + 1])
    if place < len(words) and words[place] in commands:
        words = [*words[: place + 1], *commands[words[place]].normalized(words[place + 1 :])]
    elif place and not parser.knows(words[0]):
        flag = shown(words[0])
        parser.error(f"{flag} stands before the command; write sunfish COMMAND, then its flags")
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        getattr(arguments, "parser", parser).refuse(unknown)
    if arguments.command is None and not arguments.version:
        parser.print_help(sys.stderr)
        parser.exit(2)
    return arguments


def main(argv: Sequence[str] | None = None, base: BaseConfig = preset) -> int:
    """Run one command and return its exit code; ``base`` gives the meaning of ``--config NAME``."""
    open_standard_streams()
    limit_openmp_spin()
    words = sys.argv[1:] if argv is None else argv
    with handled(interrupt), lossless_stdout():
        try:
            return _run(words, base)
        except KeyboardInterrupt as stop:
            log(str(stop) or "stopped by SIGINT")
            return 128 + int(getattr(stop, "signum", signal.SIGINT))
        except BrokenPipeError:  # the reader of stdout has gone: that is no failure
            abandon_stdout()
            return 0
        except Exception as error:
            return _report(error, words)


def _run(words: Sequence[str], base: BaseConfig) -> int:
    """Run the command that ``words`` mean; its output is written when this returns."""
    try:
        arguments = parse(words, base)
        if arguments.version:
            from importlib.metadata import version

            print(f"sunfish {version('sunfish')}")
            code = 0
        elif sys.stdout is None and arguments.command not in UNREAD:
            raise ValueError(
                f"{arguments.command} prints its result, but stdout is closed; give it a file: > FILE"
            )
        else:
            code = int(arguments.run(arguments) or 0)
    except SystemExit as stop:  # argparse after --help or a wrong flag
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if sys.stdout is not None:
        sys.stdout.flush()
    return code


def _report(error: Exception, words: Sequence[str]) -> int:
    """Say in one line what went wrong; returns the exit code. ``SUNFISH_DEBUG=1`` keeps the traceback."""
    signum = getattr(error, "signum", None)
    if signum is not None:  # a run that a signal ended, after it was saved
        log(str(error))
        return 128 + int(signum)
    if os.environ.get("SUNFISH_DEBUG") == "1":
        raise error
    log(f"error: {describe(error, words)}")
    return 2 if isinstance(error, UsageError) else 1
