"""Answer requests over HTTP, in the shape of OpenAI's API."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from sunfish.checkpoint.links import resolve_checkpoint
from sunfish.commands.flags import user_path
from sunfish.commands.parser import Parser
from sunfish.commands.sampling_flags import add_checkpoint, add_device_flags, load_pipeline
from sunfish.config.rules import check_at_least, check_number
from sunfish.utils import how_to_install

SECONDS = 300.0  # that a request may take
MAX_PORT = 65535
MAX_JOBS = 4096


def add(parser: Parser) -> None:
    """The flags of ``sunfish serve``."""
    add_checkpoint(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="STR",
        help="address to listen at; any that other machines reach needs a token (%(default)s)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, metavar="N", help="port; 0: any free one (%(default)s)"
    )
    parser.add_argument(
        "--token-file",
        metavar="PATH",
        help="a file with the token that clients must send; or set SUNFISH_TOKEN",
    )
    parser.add_argument(
        "--max-running",
        type=int,
        default=16,
        metavar="N",
        help="texts that are written at the same time (%(default)s)",
    )
    parser.add_argument(
        "--max-waiting",
        type=int,
        default=64,
        metavar="N",
        help="texts that may wait; more are refused for a while (%(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=SECONDS,
        metavar="FLOAT",
        help="seconds that a request may take (%(default)s)",
    )
    parser.add_argument(
        "--run",
        dest="run_folder",
        metavar="PATH",
        help="folder of the training run that the page shows, there yet or not (that of the checkpoint)",
    )
    add_device_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    return serve(arguments, lambda port: None)


def serve(arguments: argparse.Namespace, when_listening: Callable[[int], object]) -> int:
    """As :func:`run`; ``when_listening`` is called with the port once it takes connections."""
    check_at_least(arguments, 0, "port", most=MAX_PORT)
    check_at_least(arguments, 1, "max_running", most=MAX_JOBS)
    check_at_least(arguments, 0, "max_waiting", most=MAX_JOBS)
    check_number("timeout", arguments.timeout, 1)
    try:
        from sunfish.serving.limits import Limits
        from sunfish.serving.server import check_reach, find_token, open_socket, run_server
        from sunfish.serving.service import Service
    except ModuleNotFoundError as why:
        raise ImportError(f"serve needs {why.name}; install it with: {how_to_install('serve')}") from why
    from sunfish.checkpoint.folder import read_metadata

    file = user_path(arguments.token_file) if arguments.token_file is not None else None
    token = find_token(file, os.environ.get("SUNFISH_TOKEN"))
    check_reach(arguments.host, token)
    name = str(read_metadata(user_path(arguments.checkpoint))["config"]["training"]["name"])
    with open_socket(arguments.host, arguments.port) as listener:
        when_listening(arguments.port or listener.getsockname()[1])
        service = Service(
            load_pipeline(arguments),
            name,
            token=token,
            limits=Limits(seconds=arguments.timeout),
            max_running=arguments.max_running,
            max_waiting=arguments.max_waiting,
            run=_run_folder(arguments),
        )
        run_server(service, listener)
    return 0


def _run_folder(arguments: argparse.Namespace) -> Path:
    """The folder of the run that is shown."""
    if arguments.run_folder is not None:
        return user_path(arguments.run_folder)
    return resolve_checkpoint(user_path(arguments.checkpoint)).parent
