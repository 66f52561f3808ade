"""``sunfish train`` and ``distill-guidance``: what they hand to the trainer, and when the machine is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sunfish.cli import main
from sunfish.config import Config
from tests.tiny_checkpoint import CONFIG, write_checkpoint


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What begins: a pre-flight of a run, or its training with its checkpoint and whether other data is meant."""
    steps: list[tuple[Any, ...]] = []

    def train(config: Config, resume: Path | None = None, other_data: bool = False) -> Path:
        steps.append(("train", config.training.name, resume, other_data))
        return Path("the/last.ckpt")

    monkeypatch.setattr("sunfish.training.trainer.train", train)
    monkeypatch.setattr(
        "sunfish.training.preflight.preflight",
        lambda config: steps.append(("preflight", config.training.name)),
    )
    return steps


@pytest.mark.parametrize(
    "resumed, words, preflight, other_data",
    [
        (False, [], True, False),
        (False, ["--no-preflight"], False, False),
        (False, ["--data", "."], True, False),
        (True, [], False, False),
        (True, ["--preflight"], True, False),
        (True, ["--data", "."], False, True),
    ],
)
def test_a_new_run_is_measured_and_a_resumed_one_may_have_other_data(
    started: list[tuple[Any, ...]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    resumed: bool,
    words: list[str],
    preflight: bool,
    other_data: bool,
) -> None:
    checkpoint = write_checkpoint(tmp_path / "last.ckpt")
    which = ["--resume", str(checkpoint)] if resumed else ["--config", "nano", "--name", "new"]
    assert main(["train", *which, *words]) == 0
    name = CONFIG.training.name if resumed else "new"
    training = ("train", name, checkpoint if resumed else None, other_data)
    assert started == [("preflight", name)] * preflight + [training]
    assert capsys.readouterr().out == "the/last.ckpt\n"


def test_a_copy_is_configured_like_its_teacher_but_for_a_few_fields(
    started: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = CONFIG.with_fields(
        complementary=True, learning_rate=0.04, matrix_learning_rate=0.03, max_steps=9
    )
    checkpoint = write_checkpoint(tmp_path / "last.ckpt", teacher)
    words = ["distill-guidance", str(checkpoint)]
    for given, more in (
        ([], {}),
        (["--max-steps", "7"], {"max_steps": 7, "max_minutes": 0.0}),
        (["--learning-rate", "0.5", "--name", "other"], {"learning_rate": 0.5, "name": "other"}),
    ):
        assert main([*words, *given, "--print-config"]) == 0
        student = Config.from_dict(json.loads(capsys.readouterr().out))
        expected = {
            "name": "nano-one-pass",
            "teacher": str(checkpoint),
            "max_minutes": 10.0,
            "max_steps": 0,
            "complementary": False,
            "learning_rate": 0.008,
            "matrix_learning_rate": 0.006,
        } | more
        found = student.to_dict()
        for group, values in teacher.to_dict().items():
            for name, value in values.items():
                wanted = expected.get(name, value)
                wanted = pytest.approx(wanted) if isinstance(wanted, float) else wanted
                assert found[group][name] == wanted, name
    assert not started
    assert main(words) == 0
    assert started == [("train", "nano-one-pass", None, False)]
