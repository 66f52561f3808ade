"""The output layer's cross-entropy on this CPU, forward and backward, against two forms of PyTorch's.

    ./run.sh benchmarks/cross_entropy.py

``plain`` makes all logits and lets autograd do the rest; ``torch`` is ``F.linear_cross_entropy`` in its own chunks, which
has no weight for each token and is given none here. The ratios are to SunFish's; above 1 SunFish is the faster.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import fastest
from torch import Tensor, nn

from sunfish.hardware.cpu import keep_memory
from sunfish.model.kernels.cross_entropy import linear_cross_entropy

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """All logits at once."""
    return F.cross_entropy((hidden @ table.to(hidden.dtype).T).float(), targets, reduction="sum")


def chunked(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """PyTorch's own chunks."""
    options = nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(hidden, table.to(hidden.dtype), targets, reduction="sum", options=options)


def ours(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """What training calls, each token with the weight 1."""
    return linear_cross_entropy(hidden, table, targets, torch.ones(len(targets)))[0]


def milliseconds(loss: Loss, *inputs: Tensor) -> float:
    """The fastest of ten forward and backward passes."""
    return fastest(lambda: torch.autograd.grad(loss(*inputs), inputs[:2]))


def main() -> None:
    """Measure all three in the number formats of training and print the ratios."""
    keep_memory()
    print("tokens, vocabulary, width      type      sunfish ms   plain ms   ratio   torch ms   ratio")
    for tokens, vocabulary, width in ((3072, 2560, 96), (3072, 8192, 320), (3072, 8192, 512)):
        for dtype in (torch.float32, torch.bfloat16):
            hidden = torch.randn(tokens, width).to(dtype).requires_grad_()
            table = (0.05 * torch.randn(vocabulary, width)).requires_grad_()
            targets = torch.randint(vocabulary, (tokens,))
            own, whole, library = (
                milliseconds(loss, hidden, table, targets) for loss in (ours, plain, chunked)
            )
            print(
                f"[{tokens}, {vocabulary}, {width}]".ljust(30),
                f"{str(dtype)[6:]:9} {own:10.1f} {whole:10.1f} {whole / own:7.2f}"
                f" {library:10.1f} {library / own:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
