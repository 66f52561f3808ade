"""The cast of one tensor to the type of another."""

from __future__ import annotations

from torch import Tensor


def cast_like(x: Tensor, other: Tensor) -> Tensor:
    """``x`` in the dtype of ``other``.

    Where it has that dtype already, which is so all through a float32 pass, ``Tensor.to`` takes as long as a small
    operation; a pass of a small network would spend a fiftieth of its time there.
    """
    return x if x.dtype == other.dtype else x.to(other.dtype)
