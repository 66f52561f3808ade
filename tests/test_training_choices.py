"""What a run may choose: reading first, texts denoised twice, dropout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sunfish.config.presets import preset
from sunfish.model.layers import Layer
from sunfish.training.trainer import Trainer, train
from tests.runs import config, losses


@pytest.mark.parametrize("limit", [dict(max_steps=8), dict(max_steps=0)])
def test_a_run_with_a_limit_may_read_first(tmp_path: Path, limit: dict[str, int]) -> None:
    """The canvas has no loss in the first half of the steps, and one ever after; without a limit there is no half."""
    trainer = Trainer(config(tmp_path, read_first=0.5, **limit))
    canvas = []
    for _ in range(8):
        losses, _ = trainer.train_step()
        assert float(losses.next_token) > 0
        canvas.append(float(losses.canvas) > 0)
    assert canvas == ([False] * 4 + [True] * 4 if limit["max_steps"] else [True] * 8)


def test_a_run_that_reads_first_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(config(tmp_path, read_first=0.5, max_steps=8, name="reader"))
    said = capsys.readouterr().err
    assert "the first 50% of the run only read" in said
    assert "step 4  only reads  next_token" in said and "step 5  train_loss" in said
    lines = (tmp_path / "ck" / "reader" / "metrics.jsonl").read_text().splitlines()
    steps = [record for record in map(json.loads, lines) if "loss" in record]
    assert [("train_loss" in record, "canvas_loss" in record) for record in steps] == [(False, False)] * 4 + [
        (True, True)
    ] * 4


def test_texts_that_are_denoised_twice_are_learned(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, complementary=True, max_steps=40))
    seen = [float(trainer.train_step()[0].canvas) for _ in range(40)]
    assert sum(seen[-8:]) < 0.9 * sum(seen[:8])


def test_dropout_is_resumed_bit_for_bit_and_leaves_the_average_alone(tmp_path: Path) -> None:
    whole = config(tmp_path, name="whole", max_steps=6, dropout=0.3)
    train(whole)
    halves = config(tmp_path, name="halves", max_steps=3, dropout=0.3, decay_fraction=0.0)
    train(halves)
    last = tmp_path / "ck" / "halves" / "last.ckpt"
    torch.rand(5)  # what else was drawn must not matter
    train(halves.with_fields(max_steps=6), last)
    straight = config(tmp_path, name="straight", max_steps=6, dropout=0.3, decay_fraction=0.0)
    train(straight)
    assert losses(tmp_path / "ck" / "halves") == losses(tmp_path / "ck" / "straight")
    without = config(tmp_path, name="without", max_steps=6)
    train(without)
    one, other = (losses(tmp_path / "ck" / name) for name in ("whole", "without"))
    assert one[1] != other[1] or one[6] != other[6]
    trainer = Trainer(whole.with_fields(name="another"))
    assert all(layer.dropout == 0.3 and layer.training for layer in trainer.model.layers)
    assert not any(layer.training for layer in trainer.average.layers)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    layer = Layer(preset("nano").model, cross=False)
    layer.dropout = 0.25
    torch.manual_seed(0)
    found = layer._dropped(torch.ones(200_000))
    assert float((found == 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert float(found.mean()) == pytest.approx(1, abs=0.01)
    assert torch.equal(layer.eval()._dropped(torch.ones(9)), torch.ones(9))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_dropout_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout is {share}: give a share from 0 up to below 1"):
        preset("nano", dropout=share)
