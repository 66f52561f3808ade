"""The command line: which subcommands there are, how errors and signals become exit codes. Imports no torch.

    sunfish train | sample | infill | distill-guidance | bench | data | tokenizer | sizes | doctor

Results go to stdout, logs to stderr. Exit codes: 0 done, 1 a failure, 2 wrong use, 130 SIGINT, 143 SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sunfish.commands import bench, data, distill_guidance, doctor, infill, sample, sizes, tokenizer, train
from sunfish.commands.flags import BaseConfig, Parser, WrongUse, kebab
from sunfish.config.presets import preset
from sunfish.hardware.cpu import share_cores

COMMANDS = {
    "train": train,
    "sample": sample,
    "infill": infill,
    "distill-guidance": distill_guidance,
    "bench": bench,
    "data": data,
    "tokenizer": tokenizer,
    "sizes": sizes,
    "doctor": doctor,
}
EXAMPLES = """examples:
  sunfish train --config tiny --max-minutes 20
  sunfish train --resume checkpoints/last.ckpt
  sunfish sample --prompt "Write a story about a robot" --guidance-scale 2
  sunfish distill-guidance checkpoints/last.ckpt
  sunfish bench sample checkpoints/last.ckpt
  sunfish infill --text "The robot went to the [MASK] and fell asleep."
  sunfish doctor

Every flag may be written with - or with _. A subcommand's own flags: sunfish COMMAND --help"""


def build_parser() -> Parser:
    """The whole flag surface."""
    parser = Parser(
        prog="sunfish",
        description="Train a small diffusion language model on this computer, and steer it with prompts.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, module in COMMANDS.items():
        first = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=first, description=first)
        module.add(command)
        command.set_defaults(run=module.run, parser=command)
    return parser


def main(argv: Sequence[str] | None = None, base: BaseConfig = preset) -> int:
    """Run one command and return its exit code; ``base`` gives the meaning of ``--config NAME``."""
    share_cores()
    words = kebab(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    with _signals():
        try:
            arguments, unknown = parser.parse_known_args(words)
            if unknown:
                getattr(arguments, "parser", parser).unknown(unknown)
            if arguments.version:
                from importlib.metadata import version

                print(f"sunfish {version('sunfish')}")
                return 0
            if arguments.command is None:
                parser.print_help(sys.stderr)
                return 2
            arguments.base = base
            code = arguments.run(arguments)
            sys.stdout.flush()
            return int(code or 0)
        except SystemExit as stop:  # argparse after --help or a wrong flag; the SIGTERM handler
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except KeyboardInterrupt:
            print("stopped by SIGINT", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader of stdout has gone: that is no failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 0
        except Exception as error:
            return _report(error)


def _report(error: Exception) -> int:
    """One clear line for what a user can mend; anything else is a bug and keeps its traceback."""
    signum = getattr(error, "signum", None)
    if signum is not None:  # a run that a signal ended, after it was saved
        print(error, file=sys.stderr)
        return 128 + int(signum)
    if os.environ.get("SUNFISH_DEBUG") == "1":
        raise error
    full = (
        type(error).__name__ == "OutOfMemoryError"
    )  # of a GPU; importing torch for its type would take seconds
    if not full and not isinstance(error, (ValueError, OSError, ImportError, MemoryError)):
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"error: {text}", file=sys.stderr)
    return 2 if isinstance(error, WrongUse) else 1


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM end the program through its ``finally`` clauses, with exit code 143."""

    def terminate(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
