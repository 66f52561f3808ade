"""Publish a checkpoint as a model of the Hugging Face hub, with a model card."""

from __future__ import annotations

import argparse

from sunfish.commands.flags import user_path
from sunfish.commands.parser import Parser

TOKEN = "The hub is that of HF_ENDPOINT; the token is that of HF_TOKEN, or of hf auth login."


def add(parser: Parser) -> None:
    """The flags of ``sunfish push``."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the checkpoint, or a link to it")
    parser.add_argument("repository", metavar="USER/NAME", help="the model on the hub, made if there is none")
    parser.add_argument("--private", action="store_true", help="let nobody else see it")
    parser.add_argument("--revision", metavar="STR", help="a branch, made if there is none")
    parser.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="what the samples on the card answer to; repeatable",
    )
    parser.add_argument("--license", metavar="STR", help="license of model and data, such as apache-2.0")
    parser.add_argument(
        "--resumable", action="store_true", help="add the trainer's state, so that others can resume the run"
    )
    parser.epilog = TOKEN


def run(arguments: argparse.Namespace) -> int:
    """Write the repository with its card into a temporary folder, upload it, and print the commit's address."""
    import tempfile
    from pathlib import Path

    from sunfish.hub import check_name, plain_progress
    from sunfish.sampling.hub_pipeline import write_model
    from sunfish.sharing.upload import upload

    check_name(arguments.repository)
    plain_progress()
    with tempfile.TemporaryDirectory(prefix="sunfish-") as folder:
        write_model(
            user_path(arguments.checkpoint),
            Path(folder),
            arguments.repository,
            arguments.prompt,
            arguments.license,
            arguments.resumable,
        )
        print(
            upload(
                Path(folder),
                arguments.repository,
                private=arguments.private,
                revision=arguments.revision,
            )
        )
    return 0
