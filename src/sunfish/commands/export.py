"""Write a checkpoint for programs without PyTorch, for a browser, or with all that resuming needs in one file."""

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
    parser.add_argument(
        "--web", action="store_true", help="a page that runs the model in a browser, for any static server"
    )
    parser.add_argument(
        "--resumable", action="store_true", help="a checkpoint, with all that resuming needs in one file"
    )
    parser.add_argument("--int8", action="store_true", help="weights of 8 bits: a third of the size")
    parser.add_argument(
        "--runtime",
        metavar="FOLDER",
        help="with --web: the npm package onnxruntime-web, unpacked (npm fetches it)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the folder."""
    if arguments.onnx + arguments.web + arguments.resumable != 1:
        raise UsageError(f"say what to write to {arguments.folder}: --onnx, --web or --resumable")
    if arguments.runtime is not None and not arguments.web:
        raise UsageError("--runtime is for --web; leave it out")
    if arguments.int8 and arguments.resumable:
        raise UsageError("--int8 is for --onnx and --web; leave it out")
    path, folder = user_path(arguments.checkpoint), user_path(arguments.folder)
    if arguments.resumable:
        from sunfish.export.resumable import export_resumable

        export_resumable(path, folder)
        how = f"sunfish train --resume {folder}"
    elif arguments.onnx:
        from sunfish.export.write import export_onnx

        export_onnx(path, folder, int8=arguments.int8)
        how = f"python {folder / 'sample.py'} --prompt TEXT"
    else:
        from sunfish.export.web import export_web

        runtime = None if arguments.runtime is None else user_path(arguments.runtime)
        export_web(path, folder, int8=arguments.int8, runtime=runtime)
        how = f"python -m http.server --directory {folder}"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    log(f"wrote {format_bytes(size)}; try it: {how}")
    print(folder)
    return 0
