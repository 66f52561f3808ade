"""Plan a run on many GPUs: memory of each, the largest micro-batch, tokens/s, days and GPU-hours."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from sunfish.commands.flags import add_config_flags, print_json, resolve_config
from sunfish.commands.parser import Parser
from sunfish.config import Config
from sunfish.config.rules import shown
from sunfish.utils import GIB, UsageError

if TYPE_CHECKING:
    from sunfish.training.plan import Cluster, Option

# What decides memory and time. Parallel, activation checkpointing and accumulation are what the plan chooses.
FIELDS = frozenset(
    (
        *("vocab_size", "n_layer", "n_head", "n_embd", "mlp_ratio", "context_length", "prompt_length"),
        *("n_prompt_layer", "smear", "batch_size", "max_steps", "max_minutes", "block_lengths"),
        *("next_token_weight", "complementary", "dropout", "device", "precision"),
    )
)
# What `base` reached with --compile on one H200 (docs/experiments/2026-11-gpu-share-of-base.md).
RECORDED_FLOPS = 218e12
COUNT = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?)")
UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
HOUR, DAY = 3600.0, 86_400.0
COLUMNS = (
    *("parallel", "recompute", "weights", "optimizer", "gradients", "passes", "total"),
    *("largest", "batch", "tokens/s", "computes", "time", "GPU-hours"),
)


def add(parser: Parser) -> None:
    """The flags of ``sunfish plan``."""
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="GPUs in all (%(default)s)")
    parser.add_argument(
        "--gpu-memory", type=float, default=80.0, metavar="FLOAT", help="memory of each, in GiB (%(default)s)"
    )
    parser.add_argument(
        "--tokens", metavar="COUNT", help="length of the run, such as 30B (those of max_steps)"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--tokens-per-second",
        type=float,
        metavar="FLOAT",
        help="what one GPU does of this size, as benchmarks/speed/training_rate.py measures it",
    )
    how.add_argument(
        "--flops", type=float, metavar="FLOAT", help="operations a second that one GPU does, such as 2e14"
    )
    how.add_argument("--measure", action="store_true", help="measure this machine for some seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_flags(parser, FIELDS)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    from sunfish.training.plan import fastest, make_plan

    config = resolve_config(arguments)
    cluster, origin = _cluster(arguments, config)
    options = make_plan(config, cluster)
    best = fastest(options)
    tokens = _tokens(arguments.tokens, best)
    rows = [_figures(option, cluster, tokens) for option in options]
    if arguments.json:
        facts = {"name": config.training.name, "gpus": cluster.processes, "gpu_bytes": cluster.memory}
        print_json({**facts, "flops": cluster.rate, "tokens": tokens, "options": rows})
        return 0
    print(_head(config, cluster, origin, tokens))
    _print_table([list(COLUMNS), *(_cells(row) for row in rows)])
    print(_advice(best, cluster))
    return 0


def _cluster(arguments: argparse.Namespace, config: Config) -> tuple[Cluster, str]:
    """What the run is planned for, and where its rate comes from.

    Raises:
        UsageError: for a rate that is none, or a processor of which none is known.
    """
    import torch

    from sunfish.hardware.device import CPU, PRECISIONS, check_device, choose_precision
    from sunfish.training.plan import Cluster

    check_device(config.training.device)
    on_cpu = config.training.device == "cpu"
    device = CPU if on_cpu else torch.device("cuda")
    name = config.training.precision
    dtype = choose_precision(name, CPU) if on_cpu else PRECISIONS["bfloat16" if name == "auto" else name]
    rate, origin = _rate(arguments, config, on_cpu)
    return Cluster(arguments.gpus, arguments.gpu_memory * GIB, rate, dtype, device), origin


def _rate(arguments: argparse.Namespace, config: Config, on_cpu: bool) -> tuple[float, str]:
    """Operations a second of one GPU, and where the figure comes from."""
    from sunfish.training.plan import measured_rate, rate_of

    given = {"tokens_per_second": arguments.tokens_per_second, "flops": arguments.flops}
    for name, value in given.items():
        if value is not None and value <= 0:
            raise UsageError(f"{name} is {value:g}; give what one GPU does a second")
    if arguments.tokens_per_second is not None:
        return rate_of(config, max(1, arguments.gpus), arguments.tokens_per_second), "as given"
    if arguments.flops is not None:
        return arguments.flops, "as given"
    if arguments.measure:
        return measured_rate(config, max(1, arguments.gpus)), "measured on this machine"
    if on_cpu:
        raise UsageError(
            "device is cpu, of which no rate is on record; give --measure or --tokens-per-second"
        )
    return RECORDED_FLOPS, "what base reached on one H200; yours: --tokens-per-second or --measure"


def _tokens(text: str | None, best: Option) -> float:
    """Tokens of the run: as given, or those of ``max_steps``, or what the fastest option does in ``max_minutes``.

    Raises:
        UsageError: for a text that is no number of tokens, or a run without an end.
    """
    settings = best.config.training
    if text is not None:
        match = COUNT.fullmatch(text.strip().upper())
        if match is None or not float(match[1]):
            raise UsageError(f"tokens is {shown(text)}; give a number of tokens, such as 300M or 30B")
        return float(match[1]) * UNITS[match[2]]
    if settings.max_steps:
        return float(settings.max_steps * settings.batch_size * best.config.model.context_length)
    if settings.max_minutes:
        return 60 * settings.max_minutes * best.tokens_per_second
    raise UsageError("max_steps and max_minutes are 0, so the run has no end; give --tokens, such as 30B")


def _figures(option: Option, cluster: Cluster, tokens: float) -> dict[str, Any]:
    """What is known of an option: bytes, tokens/s, seconds, GPU-hours."""
    settings, time = option.config.training, option.time
    parts = settings.gradient_accumulation
    seconds = tokens / option.tokens_per_second
    return {
        "parallel": settings.parallel,
        "activation_checkpointing": settings.activation_checkpointing,
        "bytes": {**option.memory._asdict(), "total": option.memory.total},
        "fits": option.fits,
        "largest_micro_batch": option.largest,
        "micro_batch": settings.batch_size // (cluster.processes * parts),
        "gradient_accumulation": parts,
        "step_seconds": {**time._asdict(), "serial": time.serial, "overlapped": time.overlapped},
        "tokens_per_second": option.tokens_per_second,
        "seconds": seconds,
        "gpu_hours": seconds / HOUR * cluster.processes,
    }


def _head(config: Config, cluster: Cluster, origin: str, tokens: float) -> str:
    """What is planned, under which assumptions."""
    from sunfish.model.transformer import count_parameters
    from sunfish.utils import format_bytes

    settings, length = config.training, config.model.context_length
    kind, gpus = ("process", "es") if cluster.device.type == "cpu" else ("GPU", "s")
    batch = f"{settings.batch_size} texts of {length:,} tokens a step"
    return (
        f"{settings.name}: {count_parameters(config.model):,} parameters, {tokens / 1e9:,.4g} B tokens, {batch}\n"
        f"{cluster.processes} {kind}{gpus if cluster.processes > 1 else ''} of {format_bytes(cluster.memory)}, "
        f"{str(cluster.dtype).removeprefix('torch.')}, {cluster.rate / 1e12:,.4g} TFLOP/s each ({origin})\n"
        "memory of the main process in GiB; largest: texts that fit at a time; batch: texts at a time x parts;\n"
        "computes: share of a step in which a GPU computes, if it never communicates meanwhile"
    )


def _cells(row: dict[str, Any]) -> list[str]:
    """The figures of an option as the table shows them; no times where it does not fit."""
    size = {name: f"{number / GIB:,.1f}" for name, number in row["bytes"].items()}
    size["optimizer"] = f"{(row['bytes']['optimizer'] + row['bytes']['average']) / GIB:,.1f}"
    how = [row["parallel"], "yes" if row["activation_checkpointing"] else "no"]
    memory = [size[name] for name in ("weights", "optimizer", "gradients", "step", "total")]
    if not row["fits"]:
        return [*how, *memory, "0", *("-" for _ in range(5))]
    seconds, share = row["seconds"], row["step_seconds"]["compute"] / row["step_seconds"]["serial"]
    return [
        *(*how, *memory, str(row["largest_micro_batch"])),
        f"{row['micro_batch']} x {row['gradient_accumulation']}",
        f"{row['tokens_per_second']:,.0f}",
        f"{share:.0%}",
        f"{seconds / DAY:,.1f} days" if seconds >= DAY else f"{seconds / HOUR:,.1f} h",
        f"{row['gpu_hours']:,.0f}",
    ]


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _advice(best: Option, cluster: Cluster) -> str:
    """The flags of the fastest option, and what a larger batch would bring."""
    settings = best.config.training
    flags = [f"--config {settings.name}", f"--batch-size {settings.batch_size}"]
    flags += [f"--set training.parallel={settings.parallel}"] if cluster.processes > 1 else []
    if settings.gradient_accumulation > 1:
        flags.append(f"--set training.gradient_accumulation={settings.gradient_accumulation}")
    flags += ["--activation-checkpointing"] if settings.activation_checkpointing else []
    return f"fastest: sunfish train {' '.join(flags)}"
