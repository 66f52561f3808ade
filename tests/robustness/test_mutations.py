"""Damaged files: refused in one line, or without effect."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from benchmarks.robustness.byte_damage import DONOR, Damage
from benchmarks.robustness.forks import Ended
from benchmarks.robustness.hostile_files import MARKER
from benchmarks.robustness.json_damage import JSON
from benchmarks.robustness.mutants import CHECKPOINT, TARGETS, Mutant, damage, seal
from benchmarks.robustness.mutations import trials_of
from benchmarks.robustness.workplace import COMMANDS, MOST_BYTES, Workplace
from sunfish.checkpoint.folder import load_checkpoint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are watched on Linux only")
MUTANTS = 50


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("mutations"))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, MUTANTS, 25))
def test_no_mutant_does_harm(place: Workplace, first: int) -> None:
    """One command each; ``benchmarks/robustness/mutations.py --only NUMBER`` repeats one."""
    trials = [trial for number in range(first, first + 25) for trial in trials_of(place, 0, number, 1)]
    harm = {
        f"{trial.number}: {trial.command} with {trial.mutant.what}": trial.faults
        for trial in trials
        if trial.faults
    }
    assert harm == {}


@pytest.mark.slow
def test_a_mutant_is_a_function_of_its_seed(place: Workplace) -> None:
    for seed in ("a", "b", "c"):
        first, again = (place.damage(seed).what for _ in range(2))
        assert first == again
    assert len({place.damage(str(seed)).what for seed in range(20)}) > 15


@pytest.mark.slow
def test_every_damage_applies_to_its_files(place: Workplace, tmp_path: Path) -> None:
    """No damage fails; and every command that a target names exists."""
    run, tried = tmp_path / "run", set[Damage]()
    shutil.copytree(place.template / DONOR, tmp_path / DONOR, symlinks=True)
    for target in TARGETS:
        assert set(target.commands) <= COMMANDS.keys() and set(target.content) <= set(target.commands)
        for chosen in dict.fromkeys(chosen for group in target.damages for chosen in group):
            if chosen in tried:
                continue
            tried.add(chosen)
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(place.template / "run", run, symlinks=True)
            path = sorted(run.glob(target.files[0]))[0]
            assert chosen(path, random.Random(1)), target.kind


@pytest.mark.slow
def test_harm_is_noticed(place: Workplace) -> None:
    mutant = Mutant(TARGETS[0], "nothing", sealed=False)
    place.damage("any")
    right = Ended(0, place.right["sample"], "", 0.0)
    assert place.faults(mutant, "sample", right) == []
    other = right._replace(stdout="another text")
    assert [fault[:7] for fault in place.faults(mutant, "sample", other)] == ["result:"]
    assert place.faults(mutant._replace(sealed=True), "sample", other) == []
    much = right._replace(grown_bytes=MOST_BYTES + 1.0)
    assert [fault[:7] for fault in place.faults(mutant, "sample", much)] == ["memory:"]
    refused = right._replace(code=1, stderr="error: cannot allocate memory\n")
    assert [fault[:7] for fault in place.faults(mutant, "sample", refused)] == ["memory:"]
    (place.mutant / MARKER).touch()
    assert [fault[:5] for fault in place.faults(mutant, "sample", right)] == ["code:"]


@pytest.mark.slow
def test_a_sealed_file_passes_for_whole(place: Workplace) -> None:
    place.damage("any")
    shutil.rmtree(place.mutant)
    shutil.copytree(place.template, place.mutant, symlinks=True)
    checkpoint = place.mutant / "run" / CHECKPOINT
    weights = checkpoint / "model.safetensors"
    weights.write_bytes((place.mutant / DONOR / CHECKPOINT / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(checkpoint)
    assert seal(weights, checkpoint / "config.json")
    assert load_checkpoint(checkpoint).step == 4


def test_hostile_json_is_written_in_place(tmp_path: Path) -> None:
    """Every damage of JSON changes the document, or says that it is the same in another encoding."""
    path = tmp_path / "a.json"
    for chosen in dict.fromkeys(JSON):
        for seed in range(20):
            path.write_text('{"a": 1, "b": {"c": [1, 2.5, "x"]}}', encoding="utf-8")
            before = path.read_bytes()
            assert chosen(path, random.Random(seed)) and path.read_bytes() != before, chosen.__name__


def test_damage_of_a_folder_without_a_run_fails(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        damage(tmp_path, "seed")
