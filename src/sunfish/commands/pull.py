"""Fetch a model of the Hugging Face hub as a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from sunfish.commands.flags import user_path
from sunfish.commands.parser import Parser
from sunfish.commands.push import TOKEN

CHECKPOINTS = Path("checkpoints")


def add(parser: Parser) -> None:
    """The flags of ``sunfish pull``."""
    parser.add_argument("repository", metavar="USER/NAME", help="the model on the hub")
    parser.add_argument("folder", nargs="?", help="where the checkpoint goes, by default checkpoints/name")
    parser.add_argument("--revision", metavar="STR", help="a branch, a tag or a commit")
    parser.epilog = TOKEN


def run(arguments: argparse.Namespace) -> int:
    """Fetch it, and print the checkpoint's folder."""
    from sunfish.hub import check_name, plain_progress
    from sunfish.sharing.pull import pull

    name = check_name(arguments.repository).rpartition("/")[2]
    plain_progress()
    folder = CHECKPOINTS / name if arguments.folder is None else user_path(arguments.folder)
    pull(arguments.repository, folder, arguments.revision)
    print(folder)
    return 0
