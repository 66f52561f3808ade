"""List the sizes: parameters, memory, and how fast each trains on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from sunfish.commands.flags import print_json
from sunfish.commands.parser import Parser
from sunfish.config.presets import PRESETS, preset

if TYPE_CHECKING:
    import torch

MAX_SECONDS_PER_STEP = 12.0  # a slower size is not measured


def add(parser: Parser) -> None:
    """The flags of ``sunfish sizes``."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--measure", action="store_true", help="time real steps of each size that fits, seconds each"
    )
    how.add_argument("--quick", action="store_true", help="formulas only: no measurement at all")
    parser.add_argument("--device", default="auto", metavar="STR", help="auto, cpu, cuda (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from sunfish.hardware.device import choose_device, set_threads
    from sunfish.utils import format_bytes

    device = choose_device(arguments.device)
    set_threads(0)
    rows = _rows(device, quick=arguments.quick, measures=arguments.measure)
    if arguments.json:
        print_json(rows)
        return 0
    print(f"{'size':<6} {'parameters':>14} {'training':>10} {'sampling':>10} {'tokens/s':>10}")
    for row in rows:
        speed = row["tokens_per_second"]
        shown = "-" if speed is None else f"{'' if row['measured'] else '~'}{speed:,.0f}"
        print(
            f"{row['name']:<6} {row['parameters']:>14,} {format_bytes(row['training_bytes']):>10} "
            f"{format_bytes(row['sampling_bytes']):>10} {shown:>10}"
        )
    print(
        "Memory is estimated at the preset's batch size for the built-in stories; "
        "~ is scaled by arithmetic from the sizes that were measured."
    )
    return 0


def _rows(device: torch.device, quick: bool, measures: bool) -> list[dict[str, Any]]:
    """A row for each preset, from formulas alone (``quick``) or with measurements."""
    from sunfish.hardware.device import choose_precision
    from sunfish.hardware.resources import available_memory
    from sunfish.model.cost import flops_per_token
    from sunfish.model.memory import sampling_memory
    from sunfish.model.transformer import count_parameters
    from sunfish.training.preflight import stories_memory
    from sunfish.training.text_lengths import story_lengths
    from sunfish.training.throughput import PROBES, estimate_throughput, measure_throughput

    dtype = choose_precision("auto", device)
    throughput = {} if quick else estimate_throughput(device, dtype)
    measured = set() if quick else set(PROBES)
    rows: list[dict[str, Any]] = []
    for name in PRESETS:
        config = preset(name)
        parameters = count_parameters(config.model)
        memory = stories_memory(config, dtype, device)
        if measures and name not in measured and memory < available_memory(device):
            lengths = story_lengths(config.model)
            seconds_per_step = lengths.text * config.training.batch_size / throughput[name]
            if seconds_per_step < MAX_SECONDS_PER_STEP:
                throughput[name] = measure_throughput(config, dtype, device, 4.0, lengths) or throughput[name]
                measured.add(name)
        rows.append(
            {
                "name": name,
                "parameters": parameters,
                "training_bytes": int(memory),
                "sampling_bytes": int(sampling_memory(config, 1, parameters)),
                "gigaflops_per_token": flops_per_token(config.model) / 1e9,
                "tokens_per_second": throughput.get(name),
                "measured": name in measured,
            }
        )
    return rows
