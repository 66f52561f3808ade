"""A training pass under a GPU's autocast, imitated on the CPU: attention stays in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sunfish.config import TrainingConfig
from sunfish.rng import make_generator
from sunfish.training.loss import training_loss
from tests.helpers import batch, model, process_of

# Of the operations that autocast to float32 on a GPU, those that a pass meets in bfloat16. A number over a
# tensor is a reciprocal.
FLOAT32 = {torch.linalg.vector_norm, torch.Tensor.__rtruediv__, torch.Tensor.__rdiv__}
PRODUCTS = {torch.bmm, torch.baddbmm, F.scaled_dot_product_attention}  # of attention


class LikeGPU(TorchFunctionMode):
    """Gives float32 where a GPU's autocast does, and notes the types that attention meets."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[torch.dtype] = []
        self.softmaxes: list[torch.dtype] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        if func in PRODUCTS:
            self.products += [tensor.dtype for tensor in tensors]
        if func is torch.softmax:  # float32 unless its type is named
            self.softmaxes.append(kwargs.get("dtype") or torch.float32)
        if func in FLOAT32:
            args = tuple(arg.float() if isinstance(arg, Tensor) else arg for arg in args)
        return func(*args, **kwargs)


@pytest.mark.parametrize("block_length", [16, 4])
def test_a_training_pass_attends_in_bfloat16(block_length: int) -> None:
    network = model(torch.float32).train()
    with torch.autocast("cpu", dtype=torch.bfloat16), LikeGPU() as gpu:
        training_loss(network, process_of(), batch(), make_generator("x"), block_length, TrainingConfig())
    attentions = 2 * network.config.n_layer + network.config.n_prompt_layer + 1  # self, cross, copy head
    assert len(gpu.softmaxes) >= attentions and len(gpu.products) >= 2 * 2 * attentions
    assert set(gpu.products) == set(gpu.softmaxes) == {torch.bfloat16}
