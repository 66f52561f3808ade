"""The metrics of a training run: means of the losses between two lines, and a validation in words."""

from __future__ import annotations

from sunfish.training.evaluation import Validation
from sunfish.training.loss import Losses
from sunfish.types import Batch


class Metrics:
    """Means over the steps since the last line."""

    def __init__(self) -> None:
        self._losses: list[Losses] = []
        self._tokens = 0
        self._positions = 0
        self._seconds = 0.0

    def add(self, losses: Losses, batch: Batch, seconds: float) -> None:
        """Count a step and the seconds that it took."""
        self._losses.append(losses)
        self._tokens += batch.tokens + batch.rows  # with start marks
        self._positions += batch.positions
        self._seconds += seconds

    def flush(self) -> dict[str, float]:
        """The means since the last flush; pure autoregression has no losses of the canvas."""
        with_canvas = [losses for losses in self._losses if losses.canvas > 0]
        values = {"loss": _mean("total", self._losses)}
        if with_canvas:
            values["train_loss"] = _mean("cross_entropy", with_canvas)
            values["canvas_loss"] = _mean("canvas", with_canvas)
        values["next_token"] = _mean("next_token", self._losses)
        values["tokens_per_second"] = self._tokens / self._seconds
        values["padding"] = 1 - self._tokens / self._positions
        self._losses, self._tokens, self._positions, self._seconds = [], 0, 0, 0.0
        return values


def _mean(name: str, steps: list[Losses]) -> float:
    total: float = sum(getattr(losses, name).item() for losses in steps)
    return total / len(steps)


def describe(step: int, validation: Validation, prompted: bool = True) -> str:
    """One readable line of a validation; without a word on prompts where the model is not ``prompted``."""
    gain = f"; the right prompt is worth {validation.prompt_gain:.3f} nats/token" if prompted else ""
    at_block = f"{validation.block_bound:.3f} at block length {validation.block_length}"
    if validation.proven:
        bound = f"bound {validation.bound:.3f} nats/token ({validation.bits_per_byte:.3f} bits/byte)"
    else:
        bound = f"canvas cross-entropy {validation.bound:.3f} nats/token (this process has no proven bound)"
    return f"step {step}  validation: {bound}, {at_block}, next token {validation.next_token:.3f}{gain}"
