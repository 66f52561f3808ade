"""The output layer and its cross-entropy in one pass over chunks, so that no [tokens, V] matrix is ever kept."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows of logits at a time: 512 x 8,192 float32 are 16 MB, which a desktop's last-level cache holds. A GPU has no use for
# that, and 512 rows do not fill it.
CHUNK, CHUNK_ON_GPU = 512, 8192
SMALLEST = torch.finfo(torch.float32).tiny  # of a token's share, where a loss is reported beside its gradient
# The number of masked tokens differs from step to step, and bfloat16 products on a CPU keep a compiled kernel for each
# shape they meet: without rounding up, the memory of a run grows by several megabytes a minute.
MULTIPLE = 128


class _LinearCrossEntropy(torch.autograd.Function):
    """Gradients are formed in the forward pass, while the chunk's logits are at hand.

    What is reported beside a gradient comes from the gradient's softmax, in the type of the logits; without a gradient
    it is taken in float32.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        matrix = table.to(hidden.dtype)
        of_hidden, of_table = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if of_hidden else None
        grad_table = torch.zeros_like(table, dtype=torch.float32) if of_table else None
        losses = torch.empty(targets.shape, dtype=torch.float32, device=hidden.device)
        chunk = CHUNK if hidden.device.type == "cpu" else CHUNK_ON_GPU
        for begin in range(0, hidden.shape[0], chunk):
            rows = slice(begin, begin + chunk)
            logits, right = hidden[rows] @ matrix.T, targets[rows, None]
            if not (of_hidden or of_table):
                losses[rows] = F.cross_entropy(logits.float(), targets[rows], reduction="none")
                continue
            # Four passes over the chunk and two products; the weights meet rows of D numbers and not of V. The type is
            # named, for a GPU's autocast would make it float32.
            shares = torch.softmax(logits, dim=-1, dtype=logits.dtype)
            losses[rows] = -shares.gather(-1, right).squeeze(-1).float().clamp(min=SMALLEST).log()
            shares.scatter_add_(-1, right, -torch.ones_like(right, dtype=shares.dtype))
            if grad_hidden is not None:
                grad_hidden[rows] = (shares @ matrix) * weights[rows, None]
            if grad_table is not None:
                grad_table += shares.T @ (hidden[rows] * weights[rows, None]).to(shares.dtype)
        ctx.save_for_backward(grad_hidden, grad_table)
        ctx.mark_non_differentiable(losses)
        ctx.table_dtype = table.dtype
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_sum: Tensor, _: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
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
    extra = -count % MULTIPLE
    if extra:  # rows of weight 0
        hidden, targets, weights = (
            torch.cat([part, part.new_zeros(extra, *part.shape[1:])]) for part in (hidden, targets, weights)
        )
    total, losses = _LinearCrossEntropy.apply(hidden, table, targets, weights)
    return total, losses[:count]
