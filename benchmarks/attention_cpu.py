"""Fused attention against two written-out products on this CPU, forward and backward, as training calls them.

./run.sh benchmarks/attention_cpu.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from common import fastest
from torch import Tensor

from sunfish.model.kernels.autograd import attention


def written_out(query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
    """What training calls, all queries and all keys in one part."""
    return attention(query, key, value, [(slice(0, query.shape[2]), (slice(0, key.shape[2]),), visible)])


def milliseconds(function, *inputs: Tensor) -> float:  # type: ignore[no-untyped-def]
    """The fastest of ten forward and backward passes."""

    def both() -> None:
        y = function(*inputs)
        y.backward(torch.ones_like(y))

    return fastest(both)


def main() -> None:
    """Measure both in both number formats and print the ratio."""
    print("shape (queries/keys)         type       fused ms   written ms   fused/written")
    for batch, heads, length, keys, width in (
        (32, 3, 128, 256, 32),
        (16, 4, 128, 256, 64),
        (8, 8, 256, 512, 64),
    ):
        visible = torch.cat([torch.ones(length, keys - length).tril(), torch.eye(length)], 1).bool()
        for dtype in (torch.float32, torch.bfloat16):
            inputs = [
                torch.randn(batch, heads, n, width, dtype=dtype, requires_grad=True)
                for n in (length, keys, keys)
            ]
            fused = milliseconds(
                lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, attn_mask=m), *inputs, visible
            )
            written = milliseconds(written_out, *inputs, visible)
            shape = f"[{batch}, {heads}, {length}/{keys}, {width}]"
            print(
                f"{shape:28} {str(dtype)[6:]:9} {fused:9.1f} {written:12.1f} {fused / written:15.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
