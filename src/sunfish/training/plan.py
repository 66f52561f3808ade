"""Owns the plan of a run on many processes: what fits, how a batch is shared out, how long it takes."""

from __future__ import annotations

from typing import NamedTuple

import torch

from sunfish.config import Config
from sunfish.config.presets import PRESETS, preset
from sunfish.config.training import MAX_BATCH_SIZE, PARALLEL
from sunfish.hardware.device import choose_device, choose_precision, set_threads
from sunfish.training.communication import StepTime, assumed_link, step_time
from sunfish.training.parallel import rows_of_a_part
from sunfish.training.rank_memory import RankMemory, rank_memory
from sunfish.training.text_lengths import TextLengths
from sunfish.training.throughput import run_throughput, step_flops
from sunfish.utils import GIB, UsageError, format_bytes

MAX_PROCESSES = 2**16


class Cluster(NamedTuple):
    """What a run is planned for.

    Attributes:
        processes: GPUs, one process each.
        memory: Bytes of each.
        rate: Floating-point operations a second of each, as ``sunfish sizes --json`` counts them.
        dtype: What the network computes in.
        device: Whose memory is counted.
    """

    processes: int
    memory: float
    rate: float
    dtype: torch.dtype
    device: torch.device


class Option(NamedTuple):
    """One way to share a run out.

    Attributes:
        config: The run, with ``parallel``, ``activation_checkpointing`` and ``gradient_accumulation`` chosen.
        memory: Of the main process.
        fits: Whether a GPU has so much.
        largest: Texts that fit at a time, where a step is one part; 0: none do.
        time: Of a step.
    """

    config: Config
    memory: RankMemory
    fits: bool
    largest: int
    time: StepTime

    @property
    def tokens_per_second(self) -> float:
        """Of all processes, where no communication overlaps with computation."""
        return self.config.training.batch_size * self.config.model.context_length / self.time.serial


def make_plan(config: Config, cluster: Cluster) -> list[Option]:
    """Every way to share ``config`` out, ``ddp`` before ``fsdp``, each without activation checkpointing first.

    Texts are taken to fill the context.

    Raises:
        UsageError: the processes cannot share the batch, or not even one text fits; says what would.
    """
    if cluster.processes < 1:
        raise UsageError(f"gpus is {cluster.processes}; give at least 1")
    if cluster.memory <= 0:
        raise UsageError(f"gpu_memory is {cluster.memory / GIB:g}; give the GiB of a GPU, such as 80")
    rows_of_a_part(config.with_fields(gradient_accumulation=1).training, cluster.processes)
    ways = [(parallel, again) for parallel in PARALLEL for again in (False, True)]
    options = [_option(_shared(config, *way), cluster) for way in ways]
    if not any(option.fits for option in options):
        raise UsageError(_remedy(config, cluster, min(option.memory.total for option in options)))
    return options


def fastest(options: list[Option]) -> Option:
    """The one with the most tokens a second of those that fit."""
    return max((option for option in options if option.fits), key=lambda one: one.tokens_per_second)


def rate_of(config: Config, processes: int, tokens_per_second: float) -> float:
    """Floating-point operations a second of a process that does so many tokens of full rows a second alone."""
    rows, length = max(1, config.training.batch_size // processes), config.model.context_length
    return tokens_per_second * step_flops(config.with_fields(batch_size=rows), length) / (rows * length)


def measured_rate(config: Config, processes: int) -> float:
    """The same of this machine, measured as the pre-flight does."""
    device = choose_device(config.training.device)
    set_threads(config.training.threads)
    dtype, m = choose_precision(config.training.precision, device), config.model
    full = TextLengths(m.context_length, m.context_length, m.prompt_length, m.prompt_length)
    alone = config.with_fields(batch_size=max(1, config.training.batch_size // processes))
    return rate_of(config, processes, run_throughput(alone, dtype, device, full))


def _shared(config: Config, parallel: str, again: bool) -> Config:
    return config.with_fields(parallel=parallel, activation_checkpointing=again)


def _option(config: Config, cluster: Cluster) -> Option:
    """How ``config`` takes its batch in as few parts as fit; one text at a time where none does."""
    rows = config.training.batch_size // cluster.processes
    for parts in (count for count in range(1, rows + 1) if rows % count == 0):
        chosen = config.with_fields(gradient_accumulation=parts)
        memory = _memory(chosen, cluster)
        fits = memory.total <= cluster.memory
        if fits:
            break
    time = step_time(
        chosen,
        cluster.processes,
        chosen.model.context_length,
        cluster.rate,
        assumed_link(cluster.processes),
        cluster.dtype.itemsize,
    )
    return Option(chosen, memory, fits, largest_micro_batch(config, cluster), time)


def _memory(config: Config, cluster: Cluster) -> RankMemory:
    return rank_memory(config, None, None, cluster.dtype, cluster.device, cluster.processes)


def _fits(config: Config, cluster: Cluster) -> bool:
    return _memory(config, cluster).total <= cluster.memory


def largest_micro_batch(config: Config, cluster: Cluster) -> int:
    """Texts that fit on each process at a time, in a step of one part; 0 where not even one does."""

    def fits(rows: int) -> bool:
        one_part = config.with_fields(batch_size=rows * cluster.processes, gradient_accumulation=1)
        return _fits(one_part, cluster)

    most = MAX_BATCH_SIZE // cluster.processes
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle <= most and fits(middle) else (low, middle)
    return low


def _remedy(config: Config, cluster: Cluster, needed: float) -> str:
    """What would fit where nothing does."""
    name, count = config.training.name, cluster.processes
    text = (
        f"{name} needs {format_bytes(needed)} on each of {count} GPUs for one text at a time, but gpu_memory is "
        f"{format_bytes(cluster.memory)}"
    )
    more = count
    while more < MAX_PROCESSES:
        more *= 2
        sharded = _shared(config, "fsdp", True).with_fields(batch_size=more, gradient_accumulation=1)
        if _fits(sharded, cluster._replace(processes=more)):
            return f"{text}; {more} GPUs of this size hold it with fsdp and activation checkpointing"
    smaller = [one for one in PRESETS if largest_micro_batch(_shared(preset(one), "fsdp", True), cluster)]
    fitting = f"the largest size that fits is {smaller[-1]}" if smaller else "no size fits"
    return f"{text}; give GPUs of more memory, or a smaller --config: {fitting}"
