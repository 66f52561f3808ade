"""The published scripts and entry points, run as they are written in the guides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import test_cfg
from sunfish.hardware.cpu import OMP_SPINCOUNT
from sunfish.sampling import guidance
from tests.conftest import ROOT, TINY, Workplace, python

SCRIPTS = ("run.sh", "start_training.sh", "run_tests.sh", ".ci/run")
installed = pytest.mark.skipif(
    not Path(sys.executable).is_relative_to(ROOT / ".venv"),
    reason="the scripts use .venv, and this is not it",
)


def shell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=180)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_well_formed(name: str) -> None:
    path = ROOT / name
    assert os.access(path, os.X_OK)
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in text
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


WAITING = "import os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


@installed
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, f"{OMP_SPINCOUNT} None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "passive"}, "None passive"),
    ],
)
def test_waiting_threads_yield_their_core(said: dict[str, str], expected: str) -> None:
    """By the script and by the command alike, unless the user said otherwise."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {key: value for key, value in os.environ.items() if key not in names} | said
    command = f"from sunfish.cli import main; main(['--version']); {WAITING}"
    for words in ([str(ROOT / "run.sh"), "-c", WAITING], [sys.executable, "-c", command]):
        out = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
        assert out.splitlines()[-1] == expected


@pytest.mark.slow
@installed
def test_run_sh_works_from_anywhere(tmp_path: Path) -> None:
    code = "from config.micro_config import get_micro_config; get_micro_config()"
    result = shell(str(ROOT / "run.sh"), "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "41,857,608 parameters" in result.stdout


@pytest.mark.slow
@installed
def test_start_training_trains_and_then_resumes(trained: Workplace, tmp_path: Path) -> None:
    assert shell(str(ROOT / "start_training.sh"), "huge", cwd=tmp_path).returncode == 2
    flags = [
        *TINY[2:],
        "--checkpoints",
        str(tmp_path),
        "--data_folder",
        str(trained.folder / "data"),
    ]
    for steps, said in (("2", "from step 0"), ("3", "from step 2")):
        result = shell(str(ROOT / "start_training.sh"), "nano", *flags, "--max_steps", steps, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert said in result.stderr
    assert (tmp_path / "last.ckpt").resolve().name == "step-0000003"


@pytest.mark.slow
def test_train_and_sample_py(trained: Workplace, tmp_path: Path) -> None:
    where = ["--checkpoints", str(tmp_path), "--data_folder", str(trained.folder / "data")]
    result = python("train.py", *TINY, "--name", "mine", "--max_steps", "1", *where)
    assert result.returncode == 0, result.stderr
    flags = ["--num_samples", "3", "--seq_len", "16", "--num_steps", "3"]
    result = python("sample.py", str(tmp_path / "last.ckpt"), *flags)
    assert result.returncode == 0 and result.stdout.count("---") >= 3, result.stderr


@pytest.mark.slow
def test_guidance_checks_run() -> None:
    result = python("test_cfg.py")
    assert result.returncode == 0, result.stdout + result.stderr


def test_guidance_checks_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert test_cfg.main() == 0
    out = capsys.readouterr().out
    assert "FAILED" not in out and out.count("ok ") >= 12


def test_guidance_checks_can_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A guidance that never looks at the unconditional side is caught."""
    monkeypatch.setattr(
        guidance, "classifier_free_guidance", lambda conditional, *_: conditional.log_softmax(-1)
    )
    assert test_cfg.main() == 1 and "FAILED" in capsys.readouterr().out
