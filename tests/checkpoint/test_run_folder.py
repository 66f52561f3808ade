"""The folder of a run: one process at a time, cleared of debris, never left half made."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sunfish.checkpoint.folder import load_checkpoint
from sunfish.checkpoint.links import BEST, LAST
from sunfish.checkpoint.run_folder import check_room, opened_run, publish
from sunfish.disk.writing import WriteError, temporary_path
from tests.limits import largest_file
from tests.tiny_checkpoint import write_checkpoint


def test_a_second_run_in_one_folder_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "ck" / "run"
    words = rf"run is in use by process {os.getpid()} on .* since .*another --name"
    with opened_run(run):
        with pytest.raises(ValueError, match=words) as error, opened_run(run):
            pytest.fail("two runs in one folder")
        assert "\n" not in str(error.value)
        with opened_run(run.with_name("other")):
            pass


def test_a_run_that_fails_at_its_start_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), opened_run(tmp_path / "ck" / "run"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_the_debris_of_killed_runs_is_gone_that_of_live_ones_is_not(checkpoint: Path) -> None:
    run = checkpoint.parent
    for debris in (temporary_path(checkpoint), run / "step-0000009.writing", temporary_path(run / LAST)):
        debris.mkdir()
        (debris / "half").write_text("")
    old, new = (temporary_path(run.parent / LAST) for _ in range(2))
    for link in (old, new):
        link.write_text("")
    os.utime(old, (time.time() - 100_000,) * 2)
    with opened_run(run):
        assert {path.name for path in run.iterdir()} == {checkpoint.name, ".lock"}
        assert set(run.parent.iterdir()) == {run, new}
    assert list(run.iterdir()) == [checkpoint]


def test_a_failed_write_names_the_last_good_checkpoint(checkpoint: Path) -> None:
    words = r"state.pt could not be written: no space left on device; make room"

    def fail(run: Path) -> str:
        with pytest.raises(OSError, match=words) as error, opened_run(run):
            raise WriteError(run / "step-0000009" / "state.pt", 28, "no space left on device")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert f"The last good checkpoint is {checkpoint}: resume with --resume {checkpoint}" in fail(
        checkpoint.parent
    )
    assert fail(checkpoint.parent.with_name("new")).endswith("No checkpoint was saved yet")


def test_a_run_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "ck").write_text("a file where the folder of all runs should be")
    words = r"could not be written: .*; choose another folder or --name"
    with pytest.raises(OSError, match=words), opened_run(tmp_path / "ck" / "run"):
        pytest.fail("it cannot save")


def test_publishing_keeps_the_last_the_best_and_the_copies_of_links(checkpoint: Path) -> None:
    run = checkpoint.parent
    publish(checkpoint, best=True, every=100)
    for step in (1, 2):
        publish(write_checkpoint(run / f"step-000000{step}"), best=False, every=100)
    assert {path.name for path in run.iterdir()} == {LAST, BEST, "step-0000000", "step-0000002"}
    assert load_checkpoint(run.parent / LAST).path == load_checkpoint(run / LAST).path == run / "step-0000002"
    assert load_checkpoint(run / BEST).path == checkpoint


def test_a_checkpoint_needs_room_for_its_weights_four_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of them lie in one file."""
    weights = 3 * 2**20
    free = {"now": 4.0 * weights}
    monkeypatch.setattr("sunfish.checkpoint.run_folder.free_disk", lambda _: free["now"])
    check_room(tmp_path, weights)
    with largest_file(3 * weights):
        check_room(tmp_path, weights)
    with largest_file(3 * weights - 1), pytest.raises(WriteError, match="needs at least 9 MiB in one file"):
        check_room(tmp_path, weights)
    with largest_file(weights):
        check_room(tmp_path, weights, parts=3)  # each of three processes writes its rows
    free["now"] -= 1
    with pytest.raises(WriteError, match="needs at least 12 MiB, but"):
        check_room(tmp_path, weights)
