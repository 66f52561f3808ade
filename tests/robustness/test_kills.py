"""SIGKILL at random moments: the run resumes bit for bit, and last.ckpt always loads."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.robustness.kills import SMOKE, Killer, phase_of
from benchmarks.robustness.tiny_run import CHECKPOINTS, NAME, faults_at_the_end, faults_in_between

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are watched on Linux only")
KILLS = 10


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Killer:
    return Killer(SMOKE, tmp_path_factory.mktemp("kills"))


@pytest.mark.slow
def test_runs_that_are_killed_end_as_if_nothing_had_happened(killer: Killer) -> None:
    faults, kills, number = dict[str, list[str]](), 0, 0
    phases = set[str]()
    while kills < KILLS and number < 3 * KILLS:
        case = killer.case(f"test-{number}")
        kills, number = kills + len(case.phases), number + 1
        phases |= set(case.phases)
        if case.faults:
            faults[f"case {number}, killed in {case.phases}"] = case.faults
    assert faults == {} and kills >= KILLS
    assert len(phases) > 1, phases  # the question where a run is was answered


@pytest.mark.slow
def test_what_a_run_lost_is_noticed(killer: Killer, tmp_path: Path) -> None:
    """Each kind of loss, in the folder of a run that was not disturbed."""
    killer.run.begin(killer.folder)
    assert killer.case("undisturbed", kills=0).faults == []
    assert faults_in_between(killer.folder) == []

    def faults_after(change: str, run: Path) -> list[str]:
        metrics, last = run / CHECKPOINTS / NAME / "metrics.jsonl", run / CHECKPOINTS / "last.ckpt"
        lines = metrics.read_text().splitlines()
        if change == "other loss":
            metrics.write_text("\n".join([*lines, json.dumps(json.loads(lines[0]) | {"loss": 1.0})]))
        elif change == "torn line":
            metrics.write_text("\n".join([lines[0][:40] + lines[0], *lines[1:]]))
        elif change == "missing step":
            metrics.write_text("\n".join(lines[1:]))
        elif change == "debris":
            (run / CHECKPOINTS / ".debris").mkdir()
            (run / CHECKPOINTS / ".debris" / "file").write_text("")
        elif change == "link":
            last.unlink()
            last.symlink_to(f"{NAME}/step-{killer.run.every:07d}")
        else:
            (last / "model.safetensors").write_bytes(b"x" * 1000)
        return [*faults_at_the_end(run, killer.expected), *faults_in_between(run)]

    expected = {
        "other loss": "losses: step 1 has others",
        "torn line": "lost: line 1 of metrics.jsonl is torn",
        "missing step": "losses: step 1 is not in metrics.jsonl",
        "debris": f"debris: {CHECKPOINTS}/.debris",
        "link": f"links: {CHECKPOINTS}/last.ckpt points to",
        "weights": "damaged: ",
    }
    for change, fault in expected.items():
        run = Path(shutil.copytree(killer.folder, tmp_path / change, symlinks=True))
        assert any(text.startswith(fault) for text in faults_after(change, run)), change


def test_a_stack_says_what_a_run_was_doing() -> None:
    def stack(*names: str, path: str = "/src/sunfish/training/trainer.py") -> str:
        return "Current thread 0x1 (most recent call first):\n" + "".join(
            f'  File "{path}", line 1 in {name}\n' for name in names
        )

    assert phase_of(stack("losses", "train_step", "_loop", "run")) == "steps"
    assert phase_of(stack("fsync", "save_checkpoint", "save", "_loop")) == "saves"
    assert phase_of(stack("generate", "sample", "_loop")) == "validation"
    assert phase_of(stack("write", path="/src/sunfish/data/prepare/prepare.py")) == "preparation"
    assert phase_of(stack("parse")) == phase_of("") == "other"
