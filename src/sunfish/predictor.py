"""A network's output as the clean-token distribution that its process's bound and steps ask for."""

from __future__ import annotations

from torch import Tensor

from sunfish.types import Condition, Denoiser, Past, Process, State


class Predictor:
    """A denoiser whose canvas logits are what ``process`` takes: :meth:`Process.clean_logits` of the network's."""

    def __init__(self, denoiser: Denoiser, process: Process) -> None:
        self.denoiser = denoiser
        self.process = process

    @property
    def table(self) -> Tensor:
        """The embeddings ``[V+1, E]`` of the denoiser."""
        return self.denoiser.table

    def __call__(
        self,
        x: State,
        t: Tensor,
        cond: Condition,
        past: Past | None = None,
        start: int = 0,
        block_length: int = 0,
    ) -> Tensor:
        """Logits ``[B, N, V]``."""
        return self.process.clean_logits(self.denoiser(x, t, cond, past, start, block_length), x, t)

    def remember(self, ids: Tensor, cond: Condition, past: Past | None = None) -> tuple[Past, Tensor]:
        """The memory, and next-token logits ``[B, N, V]``."""
        return self.denoiser.remember(ids, cond, past)
