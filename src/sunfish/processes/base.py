"""What the discrete processes share: states are token ids, and ``[MASK]`` is id V."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sunfish.processes.schedules import LOG_LINEAR, Schedule


@dataclass(frozen=True)
class DiscreteProcess:
    """A corruption of V tokens with ids 0 .. V - 1; ``mask_id`` is V."""

    mask_id: int
    schedule: Schedule = LOG_LINEAR

    self_conditioned = False

    def with_embeddings(self, table: Tensor) -> DiscreteProcess:
        """Itself: ids need no embeddings."""
        return self

    def with_self_conditioning(self, logits: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """``x_t``: the state is all that a step needs."""
        return x_t

    def decode(self, x: Tensor) -> Tensor:
        """The ids themselves; a mask that is left at time 0 would be a bug of the sampler."""
        assert not bool((x == self.mask_id).any()), "a masked token is left at time 0"
        return x
