"""What a run may choose: pure autoregression, texts denoised twice, dropout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sunfish.config.presets import preset
from sunfish.training.trainer import Trainer, train
from tests.runs import config, losses


@pytest.mark.usefixtures("quick_samples")
def test_pure_autoregression_reports_no_canvas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(config(tmp_path, next_token_weight=1.0, max_steps=2, name="causal"))
    assert "step 1  next_token " in capsys.readouterr().err
    lines = (tmp_path / "ck" / "causal" / "metrics.jsonl").read_text().splitlines()
    steps = [record for record in map(json.loads, lines) if "loss" in record]
    assert len(steps) == 2 and not any("train_loss" in r or "canvas_loss" in r for r in steps)


@pytest.mark.slow
def test_texts_that_are_denoised_twice_are_learned(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, complementary=True, max_steps=40))
    seen = [float(trainer.train_step()[0].canvas) for _ in range(40)]
    assert sum(seen[-8:]) < 0.9 * sum(seen[:8])


@pytest.mark.usefixtures("quick_samples")
def test_dropout_is_resumed_bit_for_bit_and_leaves_the_average_alone(tmp_path: Path) -> None:
    whole = config(tmp_path, name="whole", max_steps=4, dropout=0.3, decay_fraction=0.0)
    train(whole)
    halves = whole.with_fields(name="halves", max_steps=2)
    train(halves)
    last = tmp_path / "ck" / "halves" / "last.ckpt"
    torch.rand(5)  # what else was drawn must not matter
    train(halves.with_fields(max_steps=4), last)
    assert losses(tmp_path / "ck" / "halves") == losses(tmp_path / "ck" / "whole")
    train(whole.with_fields(name="without", dropout=0.0))
    one, other = (losses(tmp_path / "ck" / name) for name in ("whole", "without"))
    assert one[1] != other[1] or one[4] != other[4]
    trainer = Trainer(whole.with_fields(name="another"))
    in_training, averaged = (
        [part for part in model.modules() if hasattr(part, "dropout")]
        for model in (trainer.model, trainer.average)
    )
    assert in_training and all(part.dropout == 0.3 and part.training for part in in_training)
    assert not any(part.training for part in averaged)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_dropout_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout is {share}: give a share from 0 up to below 1"):
        preset("nano", dropout=share)
