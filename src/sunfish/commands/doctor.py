"""Check that this machine is ready, and say how to fix what is not."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sunfish.commands.flags import print_json, user_path
from sunfish.commands.parser import Parser
from sunfish.utils import GIB, format_bytes, how_to_install

EXTRAS = {  # extra -> what it is for, and the modules that show that it is there
    "hf": ("data sets and prompt encoders of Hugging Face", ("transformers", "datasets", "huggingface_hub")),
    "log": ("TensorBoard, wandb and trackio", ("tensorboard", "wandb", "trackio")),
    "eval": ("plots and classifiers of the benchmarks", ("matplotlib", "sklearn")),
    "parquet": (".parquet files", ("pyarrow",)),
    "serve": ("the HTTP server", ("fastapi", "uvicorn", "pydantic", "prometheus_client")),
    "hub": ("sharing models", ("huggingface_hub",)),
    "onnx": ("sunfish export", ("onnx", "onnxruntime")),
}
CORE = ("torch", "numpy", "tokenizers", "safetensors", "rich")


@dataclass(frozen=True)
class Check:
    """One line: ``state`` is ok, note (works without) or problem (essential)."""

    name: str
    state: str
    found: str
    remedy: str = ""


def add(parser: Parser) -> None:
    """The flags of ``sunfish doctor``."""
    parser.add_argument(
        "--checkpoints", default="checkpoints", metavar="PATH", help="folder of the checkpoints (%(default)s)"
    )
    parser.add_argument(
        "--data-folder", default="data", metavar="PATH", help="folder of prepared corpora (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run every check; 1 when something essential is missing."""
    checks = []
    for check in examine(user_path(arguments.checkpoints), user_path(arguments.data_folder)):
        checks.append(check)
        if not arguments.json:
            print(
                f"{check.state:<8} {check.name}: {check.found}"
                + (f"\n{'':<9}-> {check.remedy}" if check.remedy else "")
            )
    if arguments.json:
        print_json([asdict(check) for check in checks])
    return int(any(check.state == "problem" for check in checks))


def examine(checkpoints: Path, data: Path) -> Iterator[Check]:
    """All checks, in order."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    new = sys.version_info >= (3, 11)
    yield Check("Python", "ok" if new else "problem", version, "" if new else "install Python 3.11 or newer")
    missing = [name for name in CORE if importlib.util.find_spec(name) is None]
    if missing:
        yield Check(
            "packages",
            "problem",
            f"missing: {', '.join(missing)}",
            "pip install -e . (or ./start_training.sh)",
        )
        if "torch" in missing:
            return
    else:
        yield Check("packages", "ok", f"all {len(CORE)} present")
    yield from machine()
    for extra, (purpose, modules) in EXTRAS.items():
        lacking = [name for name in modules if importlib.util.find_spec(name) is None]
        presence = f"without {', '.join(lacking)}" if lacking else "present"
        yield Check(
            f"extra {extra}",
            "note" if lacking else "ok",
            f"{purpose}: {presence}",
            f"if you want it: {how_to_install(extra)}" if lacking else "",
        )
    for folder in (checkpoints, data):
        yield writable(folder)
    yield checkpoint(checkpoints)


def machine() -> Iterator[Check]:
    """Processor, memory, GPU, number formats."""
    import torch

    from sunfish.hardware.cpu import cores, hardware_threads
    from sunfish.hardware.device import bfloat16_speed_up, choose_precision, matmul_rate, set_threads
    from sunfish.hardware.resources import available_memory, processor

    yield Check("PyTorch", "ok", torch.__version__)
    count, threads = cores(), hardware_threads()
    twins = f" ({threads} hardware threads)" if threads != count else ""
    yield Check("processor", "ok", f"{processor()}, {count} cores for this process{twins}")
    memory = available_memory()
    low = memory < GIB
    yield Check(
        "memory",
        "problem" if low else "ok",
        f"{format_bytes(memory)} available",
        "close other programs: even nano needs 1 GiB" if low else "",
    )
    if torch.cuda.is_available():
        yield Check(
            "GPU",
            "ok",
            f"{torch.cuda.get_device_name()}, {format_bytes(available_memory(torch.device('cuda')))} free",
        )
    else:
        yield Check("GPU", "ok", "none: runs use the processor")
    set_threads(0)
    full = matmul_rate(torch.float32)
    half = full * bfloat16_speed_up()  # emulated bfloat16 is too slow to be measured alike
    better = str(choose_precision("auto", torch.device("cpu"))).removeprefix("torch.")
    yield Check(
        "arithmetic", "ok", f"float32 {full:,.0f}, bfloat16 {half:,.0f} GFLOP/s: runs will use {better}"
    )


def writable(folder: Path) -> Check:
    """Whether files can be made in ``folder`` (or where it will be), and the room there."""
    from sunfish.hardware.resources import existing_parent, free_disk

    parent, free = existing_parent(folder), free_disk(folder)
    if not parent.is_dir():
        remedy = "give a folder: --checkpoints, --data_folder"
        return Check(f"folder {folder}", "problem", f"{parent} is a file", remedy)
    try:
        with tempfile.NamedTemporaryFile(dir=parent):
            pass
    except OSError as error:
        return Check(
            f"folder {folder}",
            "problem",
            f"cannot be written: {error.strerror or error}",
            f"chmod u+w {parent}, or choose another: --checkpoints, --data_folder",
        )
    low = free < GIB
    return Check(
        f"folder {folder}",
        "note" if low else "ok",
        f"writable, {format_bytes(free)} free",
        "a run of small or larger will not fit: make room" if low else "",
    )


def checkpoint(folder: Path) -> Check:
    """Whether there is a model to sample from."""
    from sunfish.checkpoint.folder import LAST, read_metadata

    link = folder / LAST
    if not os.path.lexists(link):
        return Check(
            "checkpoint", "note", f"none at {link} yet", "train one: ./start_training.sh (or: sunfish train)"
        )
    try:
        metadata = read_metadata(link)
    except ValueError as error:
        return Check("checkpoint", "note", str(error))
    return Check(
        "checkpoint", "ok", f"{link}: {metadata['config']['training']['name']}, step {metadata['step']:,}"
    )
