"""Casts that cost nothing where there is nothing to do.

``Tensor.to`` takes as long as a small operation even then, which is so all through a float32 pass: a pass of a small
network would spend a fiftieth of its time on it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cast_like(x: Tensor, other: Tensor) -> Tensor:
    """``x`` in the dtype of ``other``."""
    return x if x.dtype == other.dtype else x.to(other.dtype)


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32 where its type is coarser, such as bfloat16."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
