"""How long a step takes on several processes: computation, communication and noise, by formula (docs/scaling.md)."""

from __future__ import annotations

import math
from typing import NamedTuple

from sunfish.config import Config
from sunfish.model.cost import (
    block_parameters,
    flops_per_token,
    matrix_parameters,
    recomputed_flops_per_token,
)
from sunfish.model.transformer import count_parameters
from sunfish.training.optimizer import UPDATE_INTERVAL
from sunfish.training.throughput import optimizer_flops

BUCKET_BYTES = 25 * 2**20  # of gradients that DistributedDataParallel reduces at a time
GRADIENT_BYTES = 4  # gradients are reduced in float32
# A process draws the noise of its rows on the CPU, so many seconds a token (docs/scaling.md).
NOISE_SECONDS = 24e-9


class Link(NamedTuple):
    """What connects the processes.

    Attributes:
        bytes_per_second: That each of them sends.
        latency: Seconds that a call waits for each hop.
        reduce_scatters: Whether gradients are reduced and scattered at once; Gloo reduces all of them everywhere.
    """

    bytes_per_second: float
    latency: float
    reduce_scatters: bool = True


GPUS_PER_MACHINE = 8
INSIDE_A_MACHINE = Link(300e9, 10e-6)
BETWEEN_MACHINES = Link(40e9, 10e-6)


class StepTime(NamedTuple):
    """Seconds of a step in one process."""

    compute: float
    transfer: float
    noise: float

    @property
    def serial(self) -> float:
        """Where no communication overlaps with computation."""
        return self.compute + self.transfer + self.noise

    @property
    def overlapped(self) -> float:
        """Where the shorter of computation and communication overlaps with the longer one entirely."""
        return max(self.compute, self.transfer) + self.noise


def assumed_link(processes: int) -> Link:
    """The link of GPUs inside a machine of eight, or between such machines; assumptions of docs/scaling.md."""
    return INSIDE_A_MACHINE if processes <= GPUS_PER_MACHINE else BETWEEN_MACHINES


def bytes_sent(config: Config, processes: int, number: int = 2, reduce_scatters: bool = True) -> float:
    """Bytes that each process sends in a step.

    A ring sends (G - 1) / G of the data to reduce-scatter or to gather it, and twice that to all-reduce it. Muon sends
    the rows that a process holds to those whose turn it is to compute, and gets as many back.

    Args:
        config: The run; ``parallel`` and ``gradient_accumulation`` say what is sent, and how often.
        processes: How many share the batch.
        number: Bytes of a number in which the blocks compute; what is sharded beside them is gathered in float32.
        reduce_scatters: See :class:`Link`.
    """
    parameters, ring = count_parameters(config.model), (processes - 1) / processes
    if config.training.parallel == "ddp":
        return 2 * GRADIENT_BYTES * parameters * ring
    blocks = config.model.n_layer * block_parameters(config.model)
    # Blocks are gathered for the forward and for the backward pass, the rest for both at once.
    gathered = 2 * number * blocks + 4 * (parameters - blocks)
    reduced = GRADIENT_BYTES * parameters * (1 if reduce_scatters else 2)
    muon = 2 * number * matrix_parameters(config.model) / UPDATE_INTERVAL / processes
    return ring * (config.training.gradient_accumulation * (gathered + reduced) + muon)


def calls(config: Config) -> float:
    """Collective calls of a step: one for each bucket of gradients, or three for each block and for the rest."""
    if config.training.parallel == "ddp":
        return GRADIENT_BYTES * count_parameters(config.model) / BUCKET_BYTES
    return 3.0 * (config.model.n_layer + 1) * config.training.gradient_accumulation


def step_time(
    config: Config, processes: int, length: int, rate: float, link: Link, number: int = 2
) -> StepTime:
    """Seconds of a step of ``config`` on rows of ``length`` positions.

    Args:
        config: The run; its ``batch_size`` is that of all processes.
        processes: How many share the batch.
        length: Positions of a row.
        rate: Floating-point operations a second of one process, as ``sunfish sizes --json`` counts them.
        link: What connects the processes.
        number: As for :func:`bytes_sent`.
    """
    tokens = config.training.batch_size * length
    flops = flops_per_token(config.model)
    if config.training.activation_checkpointing:
        flops += recomputed_flops_per_token(config.model)
    optimizing = optimizer_flops(config.model) / (processes if config.training.parallel == "fsdp" else 1)
    compute = (tokens / processes * flops + optimizing) / rate
    noise = NOISE_SECONDS * tokens / processes
    if processes == 1:
        return StepTime(compute, 0.0, noise)
    hops = 2 * math.log2(processes)
    transfer = bytes_sent(config, processes, number, link.reduce_scatters) / link.bytes_per_second
    return StepTime(compute, transfer + calls(config) * hops * link.latency, noise)
