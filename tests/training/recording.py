"""Owns what is written down while a loss is computed: the canvases, and what the network is given."""

from __future__ import annotations

import pytest
from torch import Tensor

from sunfish.model.transformer import Transformer
from sunfish.rng import RowGenerators
from sunfish.types import Condition, Process


def record_canvases(process: Process) -> list[tuple[Tensor, Tensor]]:
    """The canvases and times ``[B, N]`` of every corruption by ``process``, in order."""
    corrupt, seen = process.corrupt, []

    def recorded(x0: Tensor, t: Tensor, rng: RowGenerators) -> Tensor:
        x_t = corrupt(x0, t, rng)
        seen.append((x_t, t))
        return x_t

    object.__setattr__(process, "corrupt", recorded)  # processes are frozen
    return seen


class RecordedPasses:
    """Keeps what every pass of ``network`` over text and canvas is given."""

    def __init__(self, network: Transformer, patch: pytest.MonkeyPatch) -> None:
        self.canvases: list[tuple[Tensor, Tensor]] = []
        self.conditions: list[Condition] = []
        self._pass = network.joint_pass
        patch.setattr(network, "joint_pass", self._joint_pass)

    def _joint_pass(
        self, ids: Tensor, x_t: Tensor, t: Tensor, condition: Condition, block_length: int
    ) -> tuple[Tensor, Tensor]:
        self.canvases.append((x_t, t))
        self.conditions.append(condition)
        return self._pass(ids, x_t, t, condition, block_length)
