"""The output layer and its cross-entropy in one pass over chunks, so that no [tokens, V] matrix is ever kept."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows of logits at a time: 512 x 8,192 float32 are 16 MB, which a desktop's last-level cache holds. A GPU has no use for
# that, and 512 rows do not fill it.
CHUNK_ROWS, CHUNK_ROWS_GPU = 512, 8192
MIN_PROBABILITY = torch.finfo(torch.float32).tiny  # where a loss comes with a gradient
# The number of masked tokens differs from step to step, and bfloat16 products on a CPU keep a compiled kernel for each
# shape they meet: without rounding up, a run's memory grows by several megabytes a minute.
ROW_MULTIPLE = 128


class _LinearCrossEntropy(torch.autograd.Function):
    """Gradients are formed in the forward pass, while the chunk's logits are at hand.

    A loss with a gradient comes from the gradient's softmax, in the dtype of the logits; one without is computed in
    float32.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        matrix = table.to(hidden.dtype)
        needs_hidden, needs_table = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_table = torch.zeros_like(table, dtype=torch.float32) if needs_table else None
        losses = torch.empty(targets.shape, dtype=torch.float32, device=hidden.device)
        chunk = CHUNK_ROWS if hidden.device.type == "cpu" else CHUNK_ROWS_GPU
        for begin in range(0, hidden.shape[0], chunk):
            rows = slice(begin, begin + chunk)
            logits, target = hidden[rows] @ matrix.T, targets[rows, None]
            if not (needs_hidden or needs_table):
                losses[rows] = F.cross_entropy(logits.float(), targets[rows], reduction="none")
                continue
            # Four passes over the chunk and two products; the weights multiply rows of D numbers, not of V. The dtype
            # is named because a GPU's autocast would make it float32.
            probabilities = torch.softmax(logits, dim=-1, dtype=logits.dtype)
            losses[rows] = (
                -probabilities.gather(-1, target).squeeze(-1).float().clamp(min=MIN_PROBABILITY).log()
            )
            probabilities.scatter_add_(-1, target, -torch.ones_like(target, dtype=probabilities.dtype))
            if grad_hidden is not None:
                grad_hidden[rows] = (probabilities @ matrix) * weights[rows, None]
            if grad_table is not None:
                grad_table += probabilities.T @ (hidden[rows] * weights[rows, None]).to(probabilities.dtype)
        ctx.save_for_backward(grad_hidden, grad_table)
        ctx.mark_non_differentiable(losses)
        ctx.table_dtype = table.dtype
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_sum: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden, grad_table = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * grad_sum.to(grad_hidden.dtype),
            None if grad_table is None else (grad_table * grad_sum).to(ctx.table_dtype),
            None,
            None,
        )


def linear_cross_entropy(
    hidden: Tensor, table: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of softmax(hidden @ table.T) against ``targets``.

    ``hidden [M, D]``, ``table [V, D]``, ``targets [M]`` ids, ``weights [M]`` float32. Returns the weighted sum (a
    scalar, differentiable by ``hidden`` and ``table``) and the unweighted losses ``[M]`` in nats (detached).
    """
    if not torch.is_grad_enabled():
        hidden, table = hidden.detach(), table.detach()
    count = hidden.shape[0]
    hidden, targets, weights = map(pad_rows, (hidden, targets, weights))  # rows of weight 0
    total, losses = _LinearCrossEntropy.apply(hidden, table, targets, weights)  # type: ignore[no-untyped-call]
    return total, losses[:count]


def pad_rows(rows: Tensor) -> Tensor:
    """``rows [M, ...]``, with zeros up to the next multiple of ``ROW_MULTIPLE``."""
    extra = -rows.shape[0] % ROW_MULTIPLE
    return torch.cat([rows, rows.new_zeros(extra, *rows.shape[1:])]) if extra else rows
