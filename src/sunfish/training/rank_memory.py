"""Owns how much memory a process of a run takes at its peak, part by part; model/memory.py counts its passes."""

from __future__ import annotations

from typing import NamedTuple

import torch

from sunfish.config import Config
from sunfish.hardware.cpu import KERNEL_CACHE_BYTES
from sunfish.hardware.device import CPU
from sunfish.model.cost import block_parameters, matrix_parameters
from sunfish.model.memory import FLOAT32, PROCESS_BYTES, Shape, distillation_bytes, step_bytes
from sunfish.model.transformer import count_parameters
from sunfish.training.optimizer import MAX_STACK_NUMEL

GPU_BYTES = 600 * 2**20  # what CUDA and its libraries take on the device
# Tensors of many lengths leave gaps in the C library's heap, more of them where blocks are computed again, and in
# bfloat16 compiled kernels stand between them: the heap of a step, in units of what is in use.
HEAP_SHARE = {torch.float32: 1.45, torch.bfloat16: 3.7}
RECOMPUTED_HEAP_SHARE = {torch.float32: 2.5, torch.bfloat16: 3.7}
GPU_SHARE = 1.1  # the same of PyTorch's own allocator


class RankMemory(NamedTuple):
    """Bytes of the main process of a run at its peak; the others have no more.

    Attributes:
        process: Python, PyTorch and its libraries.
        weights: In float32; where they are sharded, also those that are gathered at a time.
        average: Their moving average; where it is sharded, also the whole copy that validation uses.
        optimizer: The moments of Muon and AdamW.
        gradients: In float32.
        step: What the passes keep, and what comes and goes in them and in the optimizers.
    """

    process: float
    weights: float
    average: float
    optimizer: float
    gradients: float
    step: float

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)


def training_memory(
    config: Config,
    parameters: int | None = None,
    lengths: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> float:
    """Estimated peak bytes of a run in one process; arguments as for :func:`rank_memory`."""
    return rank_memory(config, parameters, lengths, dtype, device).total


def rank_memory(
    config: Config,
    parameters: int | None = None,
    lengths: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
    processes: int = 1,
) -> RankMemory:
    """Estimated peak bytes of a process of a run.

    Args:
        config: The run; its ``batch_size`` is that of all processes.
        parameters: Their number; None: those of a masked model.
        lengths: Positions of the longest text, and tokens of the longest prompt; None: those of ``config``.
        dtype: What the network computes in.
        device: Where.
        processes: How many share the batch.
    """
    m, training, on_cpu = config.model, config.training, device.type == "cpu"
    parameters = count_parameters(m) if parameters is None else parameters
    shards = processes if training.parallel == "fsdp" else 1
    process = PROCESS_BYTES if on_cpu else GPU_BYTES
    if on_cpu and dtype != torch.float32:
        process += KERNEL_CACHE_BYTES
    share = HEAP_SHARE[dtype] if on_cpu else GPU_SHARE
    recomputed = RECOMPUTED_HEAP_SHARE[dtype] if on_cpu and training.activation_checkpointing else share
    weights = average = FLOAT32 * parameters / shards
    if training.parallel == "fsdp":
        weights += _gathered_bytes(config, parameters, dtype, on_cpu) * (1 if on_cpu else GPU_SHARE)
        average += FLOAT32 * parameters
    moments = FLOAT32 * (2 * parameters - matrix_parameters(m)) / shards  # AdamW has two, Muon one
    gradients = FLOAT32 * parameters / shards
    step = recomputed * _largest_step(config, lengths, dtype, device, processes)
    updating = share * _update_bytes(config, dtype, device) / shards
    stays = training.gradient_accumulation > 1 or (processes > 1 and training.parallel == "ddp")
    if stays:  # one part's gradients are there while the next one is computed; so are the buckets of DDP
        step = max(step, updating)
    else:  # gradients come while what the forward pass has kept goes
        gradients *= share
        step = max(step, gradients + updating) - gradients
    return RankMemory(process, weights, average, moments, gradients, step)


def _largest_step(
    config: Config, lengths: tuple[int, int] | None, dtype: torch.dtype, device: torch.device, processes: int
) -> float:
    """Bytes of the passes of a part, for the block length that takes most."""
    length, prompt = lengths or (config.model.context_length, config.model.prompt_length)
    shapes = [
        Shape.of(config, length, prompt, dtype, device, block, processes)
        for block in set(config.training.block_lengths)
    ]
    largest = max(step_bytes(config, shape) for shape in shapes)
    return largest + (distillation_bytes(config, shapes[-1]) if config.training.distills else 0.0)


def _gathered_bytes(config: Config, parameters: int, dtype: torch.dtype, on_cpu: bool) -> float:
    """What FSDP2 gathers and reduces at a time.

    Of blocks: the weights of the one in use and of the next one, the buffer that these come from, gradients, and the
    float32 buffer in which they are reduced. Of all that is in no block: weights, gradients, and that buffer. Gloo
    reduces in a copy of it.
    """
    block, number = block_parameters(config.model), FLOAT32 if dtype == torch.float32 else 2
    buffers = FLOAT32 * (2 if on_cpu else 1)
    rest = parameters - config.model.n_layer * block
    return block * (4 * number + buffers) + rest * (2 * FLOAT32 + buffers)


def _update_bytes(config: Config, dtype: torch.dtype, device: torch.device) -> float:
    """What Muon's iteration over one stack takes: momenta in float32, and four stacks in ``dtype``."""
    number = FLOAT32 if dtype == torch.float32 else 2
    stack = min(matrix_parameters(config.model), MAX_STACK_NUMEL[device.type])
    return stack * (FLOAT32 + 4 * number)
