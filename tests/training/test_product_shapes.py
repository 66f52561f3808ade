"""Matrix products of training have few shapes: each is a function of the batch's shape, or has padded rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sunfish.config import TrainingConfig
from sunfish.model.kernels.cross_entropy import CHUNK_ROWS, ROW_MULTIPLE
from sunfish.rng import make_generator
from sunfish.training.loss import training_loss
from tests.helpers import batch, model, process_of

PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten.addmm.default}
STEPS = 6


class ProductShapes(TorchDispatchMode):
    """Collects the shapes of the operands of every matrix product, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.shapes.add(tuple(size for operand in args[-2:] for size in operand.shape))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("process", ["masked", pytest.param("uniform", marks=pytest.mark.slow)])
def test_noise_does_not_change_the_shapes_of_products(process: str) -> None:
    """However many positions are unknown, a product has the shape that it has in every other step."""
    network, texts, seen, counts = model(torch.float32, process=process), batch(rows=12), [], set()
    corruption = process_of(process, network)
    for step in range(STEPS):
        with ProductShapes() as products:
            losses = training_loss(
                network, corruption, texts, make_generator("step", step), 4, TrainingConfig()
            )
            torch.autograd.backward(losses.total)
        counts.add(float(losses.total.detach()))
        seen.append(products.shapes)
    assert len(counts) == STEPS  # other noise in each
    of_batch = [
        {shape for shape in shapes if not any(size % ROW_MULTIPLE == 0 for size in shape)} for shapes in seen
    ]
    assert of_batch[0] and all(shapes == of_batch[0] for shapes in of_batch)
    loss = set.union(*seen) - of_batch[0]
    assert len(loss) <= 10 * CHUNK_ROWS // ROW_MULTIPLE, len(loss)
