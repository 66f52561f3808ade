"""Matrices in whole numbers of one byte: a quarter of the memory that a pass of sampling on a CPU has to read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sunfish.model.transformer import Transformer

# Weights of a matrix that gains by it; for a smaller one the rounding takes longer than the product.
LEAST = 2**17
LEAST_COMPILED = 2**15  # where rounding is one operation with what lies around it
LARGEST = 127


def _rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """``rows [M, D]`` as whole numbers, and the largest number of each row ``[M, 1]``, which LARGEST stands for."""
    largest = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12)
    return (rows * (LARGEST / largest)).round_().to(torch.int8), largest


class Int8Linear(nn.Module):
    """x W^T with each row of W, and each row of x when it comes, as whole numbers times a scale of its own.

    The products are summed exactly in 32 bits (Dettmers et al. 2022, arXiv:2208.07339, section 3.1, vector-wise), so no
    row of x depends on the others: a text is the same alone and in a batch.
    """

    whole: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor) -> None:
        """``weight [O, D]`` in floating point; it is not kept."""
        super().__init__()
        whole, largest = _rounded(weight.detach().float())
        self.register_buffer("whole", whole, persistent=False)
        self.register_buffer("scale", largest[:, 0] / LARGEST**2, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., D]`` to ``[..., O]`` in float32."""
        whole, largest = _rounded(x.reshape(-1, x.shape[-1]).float())
        product = torch._int_mm(whole, self.whole.t()) * self.scale
        return product.mul_(largest).view(*x.shape[:-1], -1)


@torch.no_grad()
def in_int8(model: Transformer, least: int = LEAST) -> Transformer:
    """The same model with matrices of ``least`` weights or more in one byte a weight, in place; for a CPU only.

    The draft head stays, and so does a matrix of which other processes than masks take a part.
    """
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or module.weight.numel() < least:
            continue
        if name.startswith("draft_head.") or (name.endswith(".project") and model.time is not None):
            continue
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, Int8Linear(module.weight))
    if model.table.numel() >= least:
        model.int8_head = Int8Linear(model.table[:-1])
    return model
