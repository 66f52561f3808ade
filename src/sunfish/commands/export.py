"""Write a checkpoint in a form that runs without PyTorch."""

from __future__ import annotations

import argparse

from sunfish.commands.flags import user_path
from sunfish.commands.parser import Parser
from sunfish.utils import UsageError, format_bytes, log


def add(parser: Parser) -> None:
    """The flags of ``sunfish export``."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint")
    parser.add_argument("folder", metavar="FOLDER", help="a folder that does not exist yet")
    parser.add_argument(
        "--onnx", action="store_true", help="ONNX graphs, and a sample.py that needs onnxruntime and numpy"
    )
    parser.add_argument("--int8", action="store_true", help="weights of 8 bits: a quarter of the size")


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the folder."""
    if not arguments.onnx:
        raise UsageError(f"say what to write to {arguments.folder}: --onnx")
    from sunfish.export.write import export_onnx

    folder = export_onnx(user_path(arguments.checkpoint), user_path(arguments.folder), int8=arguments.int8)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    log(f"wrote {format_bytes(size)}; try it: python {folder / 'sample.py'} --prompt TEXT")
    print(folder)
    return 0
