"""A step shared out to processes: the loss as a module that PyTorch replicates, and the sums of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sunfish.config import TrainingConfig
from sunfish.model.transformer import Transformer
from sunfish.training.loss import Losses
from sunfish.training.ranks import Ranks
from sunfish.training.sharding import shard
from sunfish.types import Batch
from sunfish.utils import UsageError


class LossModule(nn.Module):
    """A loss whose forward pass is one call, around which PyTorch gathers weights and reduces gradients."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, objective: Any, *words: Any) -> Losses:
        """The losses by ``objective`` of the model, given ``words``."""
        losses: Losses = objective(self.model, *words)
        return losses


def shared_out(model: Transformer, ranks: Ranks, parallel: str, dtype: torch.dtype) -> nn.Module:
    """The loss of ``model``; with several processes, its gradients become the mean over them.

    Args:
        model: the network, which holds a part of its weights after this where ``parallel`` is fsdp.
        ranks: the processes.
        parallel: see :class:`sunfish.config.TrainingConfig`.
        dtype: what the network computes in.
    """
    module = LossModule(model)
    if parallel == "fsdp":
        shard(module, model, dtype)
        return module
    if ranks.size == 1:
        return module
    # Which weights take part depends on the objective: pure diffusion has no next tokens.
    return DistributedDataParallel(
        module, forward_sync_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=True
    )


def reducing(module: nn.Module, reduces: bool) -> AbstractContextManager[Any]:
    """The context of one part's passes: gradients are reduced after the last part of a step only."""
    if reduces or not isinstance(module, DistributedDataParallel):
        return nullcontext()
    return module.no_sync()


def rows_of_a_part(config: TrainingConfig, size: int) -> int:
    """Texts that each of ``size`` processes computes at a time.

    Raises:
        UsageError: the texts of a step cannot be shared out, or not equally.
    """
    parts = size * config.gradient_accumulation
    if config.distills and (parts > 1 or config.parallel == "fsdp"):
        raise UsageError(
            f"{size} processes x gradient_accumulation {config.gradient_accumulation} ({config.parallel}) were asked "
            "for, but a copy of a teacher is trained whole; use one process, gradient_accumulation 1 and ddp"
        )
    if config.batch_size % parts:
        raise UsageError(
            f"batch_size is {config.batch_size}, which {size} processes x gradient_accumulation "
            f"{config.gradient_accumulation} cannot share equally; give a multiple of {parts}"
        )
    return config.batch_size // parts


def parts_of(batch: Batch, config: TrainingConfig) -> list[Batch]:
    """The parts in which this process computes its rows of a step, one after the other.

    Rows of a part are equally wide, and there are at most a ``gradient_accumulation``-th of this process's. Every
    process has as many parts, because FSDP2 gathers weights in each: one with fewer divides its largest.
    """
    rows = len(batch.x0)
    if config.distills:  # its loss is no sum over rows
        return [batch]
    widths = batch.widths or (batch.x0.shape[1],) * batch.rows
    most = -(-rows // config.gradient_accumulation)
    processes = batch.rows // rows
    count = max(len(parts_of_rows(widths[rank::processes], most)) for rank in range(processes))
    if count == 1:
        return [batch]
    own = [widths[row] for row in batch.share.rows] if batch.share.size else widths
    return [batch.part(part, own[part[0]]) for part in parts_of_rows(own, most, count)]


def parts_of_rows(widths: Sequence[int], most: int, count: int = 1) -> list[list[int]]:
    """The numbers of the rows of each part, narrow rows first.

    Args:
        widths: of the rows; those of a part are equal.
        most: rows of a part.
        count: at least so many parts; not more than rows.
    """
    order = sorted(range(len(widths)), key=widths.__getitem__)
    equal = [list(rows) for _, rows in groupby(order, key=widths.__getitem__)]
    parts = [part for rows in equal for part in _divided(rows, -(-len(rows) // most))]
    while len(parts) < count:
        largest = max(range(len(parts)), key=lambda number: len(parts[number]))
        parts[largest : largest + 1] = _divided(parts[largest], 2)
    return parts


def _divided(rows: list[int], count: int) -> list[list[int]]:
    return [rows[number::count] for number in range(count)]


@torch.no_grad()
def add_up(parts: Sequence[Losses], tokens: int, ranks: Ranks) -> Losses:
    """The losses of a whole batch from those of this process's parts, the same on every process.

    Args:
        parts: see :class:`sunfish.training.loss.Losses`.
        tokens: of the whole batch, by which the parts' draft losses are divided.
        ranks: the processes that have the other parts.
    """
    sums = torch.zeros(7, dtype=torch.float64, device=parts[0].total.device)
    for part in parts:
        means = (part.cross_entropy * part.scored, part.draft * part.drafted)
        numbers = (part.total, part.canvas, part.next_token, *means)
        sums += torch.stack(
            [
                *(number.detach().double() for number in numbers),
                *(sums.new_tensor(float(count)) for count in (part.scored, part.drafted)),
            ]
        )
    total, canvas, next_token, cross_entropy, draft, scored, drafted = ranks.sum(sums)
    mean = draft / drafted.clamp(min=1)
    return Losses(
        total - draft / max(1, tokens) + mean,
        canvas,
        cross_entropy / scored.clamp(min=1),
        next_token,
        mean,
        int(scored),
        int(drafted),
    )
