"""int8 matrices: a quarter of the memory that a pass of sampling on a CPU has to read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sunfish.model.transformer import Transformer

# Weights of a matrix that gains by it; for a smaller one rounding takes longer than the product.
MIN_INT8_NUMEL = 2**17
MIN_INT8_NUMEL_COMPILED = 2**15  # where rounding is fused with the operations around it
MAX_INT8 = 127


def _quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """``rows [M, D]`` as int8, and the largest absolute value of each row ``[M, 1]``, which becomes MAX_INT8."""
    largest = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12)
    return (rows * (MAX_INT8 / largest)).round_().to(torch.int8), largest


class Int8Linear(nn.Module):
    """x W^T with each row of W, and each row of x when it comes, as int8 times a scale of its own.

    The products are summed exactly in 32 bits (Dettmers et al. 2022, arXiv:2208.07339, section 3.1, vector-wise), so no
    row of x depends on the others: a text is the same alone and in a batch.
    """

    quantized: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor) -> None:
        """``weight [O, D]`` in floating point; it is not kept."""
        super().__init__()
        quantized, largest = _quantize(weight.detach().float())
        self.register_buffer("quantized", quantized, persistent=False)
        self.register_buffer("scale", largest[:, 0] / MAX_INT8**2, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., D]`` to ``[..., O]`` in float32."""
        quantized, largest = _quantize(x.reshape(-1, x.shape[-1]).float())
        product = torch._int_mm(quantized, self.quantized.t()) * self.scale
        return product.mul_(largest).view(*x.shape[:-1], -1)


@torch.no_grad()
def quantize_int8(model: Transformer, min_numel: int = MIN_INT8_NUMEL) -> Transformer:
    """Quantize the matrices of at least ``min_numel`` weights in place; for a CPU only.

    The draft head stays, and so does a matrix of which time-conditioned processes use a part.
    """
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or module.weight.numel() < min_numel:
            continue
        if name.startswith("draft_head.") or (
            name.endswith(".qkv_proj") and model.time_embedding is not None
        ):
            continue
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, Int8Linear(module.weight))
    if model.token_embedding.numel() >= min_numel:
        model.int8_head = Int8Linear(model.token_embedding[:-1])
    return model
