"""Owns a run under watch: a clock that is set by hand, and a record of every step."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from sunfish.config import Config
from sunfish.training.evaluation import Validation
from sunfish.training.loss import Losses
from sunfish.training.trainer import Trainer
from sunfish.types import Batch
from tests.runs import config

STEP_SECONDS, VALIDATION_SECONDS = 10.0, 70.0
SETTINGS: dict[str, Any] = dict(name="run", eval_texts=6)


class Step(NamedTuple):
    """What one step of a run did."""

    losses: Losses
    batch: Batch
    rates: tuple[float, ...]  # the learning rate of each optimizer
    weights: dict[str, Tensor]  # after the step


class Watched:
    """A run whose steps take ``STEP_SECONDS`` and whose validations take ``VALIDATION_SECONDS``."""

    def __init__(
        self, run: Config, patch: pytest.MonkeyPatch, bounds: tuple[float, ...] = (), **arguments: Any
    ) -> None:
        """Prepare the run.

        Args:
            run: its configuration.
            patch: undone when the test ends.
            bounds: what the validations find, one after the other; none: what they compute.
            arguments: of the trainer.
        """
        self.trainer = Trainer(run, **arguments)
        self.folder = run.training.folder
        self.initial = self._weights()
        self.steps: list[Step] = []
        self.validations: list[Validation] = []
        self.log = io.StringIO()
        self._now, self._bounds, self._patch = 1000.0, list(bounds), patch
        self._step, self._validate = self.trainer.train_step, self.trainer.validate
        patch.setattr(self.trainer, "train_step", self._watched_step)
        patch.setattr(self.trainer, "validate", self._watched_validation)
        if bounds:
            patch.setattr(self.trainer, "sample", lambda: [])

    def run(self) -> Path:
        """Train to the limit; what a person sees of it is in ``log``."""
        with self._patch.context() as patch:
            patch.setattr(time, "perf_counter", lambda: self._now)
            patch.setattr(sys, "stderr", self.log)
            return self.trainer.run()

    def records(self, key: str) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl`` that have ``key``."""
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if key in record]

    def _watched_step(self) -> tuple[Losses, Batch]:
        losses, batch = self._step()
        optimizers = self.trainer.training_step.optimizers
        rates = tuple(optimizer.param_groups[0]["lr"] for optimizer in optimizers)
        self.steps.append(Step(losses, batch, rates, self._weights()))
        self._now += STEP_SECONDS
        return losses, batch

    def _watched_validation(self) -> Validation:
        validation = self._validate()
        if self._bounds:
            validation = validation._replace(bound=self._bounds.pop(0))
        self.validations.append(validation)
        self._now += VALIDATION_SECONDS
        return validation

    def _weights(self) -> dict[str, Tensor]:
        state = self.trainer.model.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}


def settings(folder: Path, **values: object) -> Config:
    """A run in ``folder``."""
    return config(folder, **{**SETTINGS, **values})


def averages(watched: Watched, decay: float) -> dict[str, Tensor]:
    """The moving average of the weights by its definition, in float64."""
    average = {name: value.double() for name, value in watched.initial.items()}
    for number, step in enumerate(watched.steps):
        kept = min(decay, (1 + number) / (10 + number))
        average = {name: kept * average[name] + (1 - kept) * step.weights[name].double() for name in average}
    return {name: value.to(torch.float32) for name, value in average.items()}
