"""Which times training draws: masks up to the largest mask rate, all others up to 1; exact counts for masks only."""

from __future__ import annotations

import pytest
import torch

from sunfish.config import Config, ProcessConfig, TrainingConfig
from sunfish.config.presets import preset
from sunfish.processes import PROCESSES, build_process
from sunfish.rng import generator_of
from sunfish.training.loss import training_times
from tests.helpers import batch


@pytest.mark.parametrize("name", PROCESSES)
def test_the_range_of_times(name: str) -> None:
    training = TrainingConfig(mask_rate_min=0.2, mask_rate_max=0.7)
    process, highest = build_process(ProcessConfig(process=name)), 0.7 if name == "masked" else 1.0
    times = [
        training_times(batch(64, 16), 4, process, training, generator_of("times", number))
        for number in range(10)
    ]
    t = torch.cat(times)
    assert bool((t[:, 0] == 0).all())
    drawn = t[:, 1:]
    assert 0.2 <= float(drawn.min()) < 0.21 and highest - 0.01 < float(drawn.max()) <= highest


def test_only_masks_with_a_log_linear_schedule_have_exact_counts() -> None:
    assert Config().training.exact_count and preset("tiny").training.exact_count
    assert not Config(training=TrainingConfig(exact_count=False)).training.exact_count
    for changed in (dict(process="uniform"), dict(process="gaussian"), dict(schedule="cosine")):
        assert not preset("tiny", **changed).training.exact_count
