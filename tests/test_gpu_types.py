"""What a GPU's autocast would make of a training pass, on the CPU: attention must not take over its float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sunfish.config import ProcessConfig, TrainingConfig
from sunfish.model import copy_head as pointer
from sunfish.model import layers as attention
from sunfish.model.side_by_side import Visible
from sunfish.processes import build_process
from sunfish.rng import generator_of
from sunfish.training.loss import objective
from tests.helpers import batch, model

# Of PyTorch's list of operations that autocast to float32 on a GPU, those that a pass meets in bfloat16. A number
# divided by a tensor is a reciprocal.
FLOAT32 = {torch.linalg.vector_norm, torch.Tensor.__rtruediv__, torch.Tensor.__rdiv__}


class LikeGPU(TorchFunctionMode):
    """Gives float32 where a GPU's autocast does."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in FLOAT32:
            args = tuple(arg.float() if isinstance(arg, Tensor) else arg for arg in args)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("block", [0, 4])
def test_a_training_pass_attends_in_bfloat16(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    met: list[tuple[str, torch.dtype]] = []
    attend, softmax = attention.attend, torch.softmax

    def watched(query: Tensor, key: Tensor, value: Tensor, mask: Visible) -> Tensor:
        found = attend(query, key, value, mask)
        met.extend(("attention", part.dtype) for part in (query, key, value, found))
        return found

    def shares(x: Tensor, **named: Any) -> Tensor:
        met.append(("softmax", softmax(x.float() if "dtype" not in named else x, **named).dtype))
        return softmax(x, **named)

    monkeypatch.setattr(attention, "attend", watched)
    monkeypatch.setattr(pointer, "attend", watched)
    monkeypatch.setattr(torch, "softmax", shares)
    m = model(torch.float32).train()
    with torch.autocast("cpu", dtype=torch.bfloat16), LikeGPU():
        objective(m, build_process(ProcessConfig()), batch(), generator_of("x"), block, TrainingConfig())
    assert {kind for kind, _ in met} == {"attention", "softmax"}
    assert {dtype for _, dtype in met} == {torch.bfloat16}
