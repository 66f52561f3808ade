"""What a training run says of its losses: means between two lines, and a validation in words."""

from __future__ import annotations

from sunfish.training.evaluation import Validation
from sunfish.training.loss import Losses
from sunfish.types import Batch


class Meter:
    """Means over the steps since the last line."""

    def __init__(self) -> None:
        self._losses: list[Losses] = []
        self._tokens = self._positions = 0
        self._seconds = 0.0

    def add(self, losses: Losses, batch: Batch, seconds: float) -> None:
        """A step and the seconds that it took."""
        self._losses.append(losses)
        self._tokens += int(batch.lengths.sum())
        self._positions += batch.x0.numel()
        self._seconds += seconds

    def flush(self) -> dict[str, float]:
        """The means, and the tokens a second; the meter begins anew. Of a canvas only where there was one."""
        drawn = [losses for losses in self._losses if losses.canvas > 0]

        def mean(name: str, some: list[Losses]) -> float:
            return sum(getattr(losses, name).item() for losses in some) / len(some)

        values = {"loss": mean("total", self._losses)}
        if drawn:
            values |= {"train_loss": mean("cross_entropy", drawn), "canvas_loss": mean("canvas", drawn)}
        values |= {
            "next_token": mean("next_token", self._losses),
            "tokens_per_second": self._tokens / self._seconds,
            "padding": 1 - self._tokens / self._positions,
        }
        self.__init__()  # type: ignore[misc]
        return values


def describe(step: int, validation: Validation, prompted: bool = True) -> str:
    """One readable line of a validation; nothing about prompts where the model is not ``prompted``."""
    gain = f"; the right prompt is worth {validation.prompt_gain:.3f} nats/token" if prompted else ""
    if not validation.proven:
        return (
            f"step {step}  validation: cross-entropy of the canvas {validation.bound:.3f} nats/token (no bound: this "
            f"process has none), {validation.block_bound:.3f} at block length {validation.block_length}, next token "
            f"{validation.next_token:.3f}{gain}"
        )
    return (
        f"step {step}  validation: bound {validation.bound:.3f} nats/token ({validation.bits_per_byte:.3f} bits/byte), "
        f"{validation.block_bound:.3f} at block length {validation.block_length}, next token "
        f"{validation.next_token:.3f}{gain}"
    )
