"""Links to checkpoints: on every kind of disk, after every kind of copy, updated by several processes at once."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sunfish.checkpoint.folder import load_checkpoint, load_trainer, read_metadata
from sunfish.checkpoint.links import (
    BEST,
    LAST,
    at_its_place,
    linked_folders,
    newest_checkpoint,
    resolve_checkpoint,
    run_folder_of,
    update_link,
)
from tests.tiny_checkpoint import CONFIG, trainer_state, write_checkpoint

NO_LINKS = [errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EACCES]


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def symlink_to(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "symlink_to", symlink_to)


@pytest.fixture(params=["links", "files"])
def link(request: pytest.FixtureRequest, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``last.ckpt`` of a run, on a disk with links and on one without."""
    if request.param == "files":
        refuse_links(monkeypatch, errno.EPERM)
    update_link(checkpoint.parent / LAST, checkpoint)
    assert (checkpoint.parent / LAST).is_symlink() == (request.param == "links")
    return checkpoint.parent / LAST


def test_a_link_names_one_checkpoint_at_a_time(link: Path) -> None:
    first, other = link.parent / "step-0000000", write_checkpoint(link.parent / "step-0000009")
    for folder in (other, first):
        update_link(link, folder)
        assert resolve_checkpoint(link) == folder.resolve() and load_checkpoint(link).path == folder
    assert read_metadata(link)["step"] == 0 and load_trainer(link) == trainer_state(0)
    assert {path.name for path in link.parent.iterdir()} == {LAST, first.name, other.name}


@pytest.mark.parametrize("number", NO_LINKS)
def test_every_disk_without_links_gets_a_file(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_links(monkeypatch, number)
    run = checkpoint.parent
    update_link(run / BEST, checkpoint)
    update_link(run.parent / LAST, checkpoint)
    assert (run.parent / LAST).read_text() == "run/step-0000000\n"
    assert load_checkpoint(run.parent / LAST).path == run.parent / "run" / checkpoint.name
    assert linked_folders(run) == {checkpoint}


def test_a_link_without_room_is_an_error(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not a file in its place, which would fail as well."""
    refuse_links(monkeypatch, errno.ENOSPC)
    with pytest.raises(OSError, match=r"last.ckpt could not be written: no space left on device; make room"):
        update_link(checkpoint.parent / LAST, checkpoint)
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def copy(run: Path, to: Path, how: str) -> Path:
    shutil.copytree(run, to, symlinks=how in ("kept", "dropped"))
    if how == "dropped":
        (to / LAST).unlink()
    return to


@pytest.mark.parametrize("how", ["kept", "followed", "dropped"])
@pytest.mark.parametrize("name", ["", LAST])
def test_a_copied_run_is_read_where_it_lies(link: Path, tmp_path: Path, how: str, name: str) -> None:
    """As cp -a, cp -rL and rsync without links copy it; by its link, and by its folder."""
    run = copy(link.parent, tmp_path / "elsewhere" / "run", how)
    shutil.rmtree(link.parent)
    given = run / name if name else run
    assert load_checkpoint(given).step == 0 and load_trainer(given) == trainer_state(0)
    assert run_folder_of(given, "run") == run.resolve()
    update_link(run / LAST, write_checkpoint(run / "step-0000004"))
    assert load_checkpoint(given).path.name == "step-0000004"
    assert {path.name for path in run.iterdir()} == {LAST, "step-0000000", "step-0000004"}


def test_copies_in_place_of_links_are_the_checkpoints_that_they_are_copies_of(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Of a run and of a folder of runs; what is left of the copied checkpoint after pruning does not count."""
    runs = checkpoint.parent.parent
    update_link(checkpoint.parent / LAST, checkpoint)
    update_link(runs / LAST, checkpoint)
    copied = Path(shutil.copytree(runs, tmp_path.parent / f"{tmp_path.name}-copied"))
    whole = copied / "run" / checkpoint.name
    for given in (copied / LAST, copied / "run" / LAST, copied / "run", copied):
        assert resolve_checkpoint(given) == whole and run_folder_of(given, "run") == whole.parent.resolve()
    shutil.rmtree(whole / "trainer")
    assert resolve_checkpoint(copied / "run") == copied / "run" / LAST
    assert load_trainer(copied / "run") == trainer_state(0)


def test_without_links_the_newest_whole_checkpoint_is_the_last(checkpoint: Path) -> None:
    run = checkpoint.parent
    for step in (4, 30, 200):
        write_checkpoint(run / f"step-{step:07d}")
    shutil.rmtree(run / "step-0000030" / "trainer")  # a milestone, for sampling only
    (run / "step-0000200" / "config.json").unlink()  # a copy that was broken off
    (run / ".step-0000999.1-aaaaaaaa.writing").mkdir()
    assert newest_checkpoint(run) == run / "step-0000004"
    assert resolve_checkpoint(run / LAST) == (run / "step-0000004").resolve()


def test_several_runs_without_links_are_not_guessed_at(checkpoint: Path) -> None:
    runs = checkpoint.parent.parent
    assert load_checkpoint(runs / LAST).step == load_checkpoint(runs).step == 0
    write_checkpoint(runs / "other" / "step-0000001")
    with pytest.raises(ValueError) as error:
        load_checkpoint(runs / LAST)
    assert str(error.value) == (
        f"{runs} has no last.ckpt, but several runs: other, run. Name one, such as {runs / 'other'}"
    )


@pytest.mark.parametrize("read", [read_metadata, load_checkpoint, load_trainer])
def test_a_link_that_leads_nowhere_says_so(link: Path, read: Callable[[Path], object]) -> None:
    other = write_checkpoint(link.parent / "step-0000002")
    shutil.rmtree(link.parent / "step-0000000")
    with pytest.raises(ValueError, match=r"last.ckpt points to .*step-0000000, which is gone.*name .*0002"):
        read(link)
    shutil.rmtree(other)
    with pytest.raises(ValueError, match=r"which is gone; put it back, or remove the link"):
        read(link)


def test_links_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / LAST).symlink_to(".")
    (tmp_path / BEST).symlink_to(BEST)
    with pytest.raises(ValueError, match="is a folder that holds"):
        read_metadata(tmp_path)
    with pytest.raises(ValueError, match="which is gone"):
        read_metadata(tmp_path / BEST)


@pytest.mark.parametrize("content", ["weights", "", "step-", "a\nstep-1", "step-1\n\n", "x" * 5000])
def test_other_files_are_no_links(checkpoint: Path, content: str) -> None:
    file = checkpoint.parent / LAST
    file.write_text(content)
    with pytest.raises(ValueError, match=r"last.ckpt is an? .*file"):
        read_metadata(file)


def test_two_runs_update_a_shared_link_at_once(checkpoint: Path) -> None:
    """No update fails, and the link is whole at each moment."""
    shared, problems = checkpoint.parent.parent / LAST, []

    def update(folder: Path) -> None:
        try:
            for _ in range(40):
                update_link(shared, folder)
                assert resolve_checkpoint(shared).name == "step-0000000"
        except Exception as why:
            problems.append(why)

    other = write_checkpoint(shared.parent / "other" / "step-0000000")
    threads = [threading.Thread(target=update, args=(folder,)) for folder in (checkpoint, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert {path.name for path in shared.parent.iterdir()} == {LAST, "run", "other"}


def test_a_run_resumes_where_its_checkpoint_lies(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = checkpoint.parent
    config = CONFIG.with_fields(checkpoints=str(run.parent), name=run.name)
    update_link(run / LAST, checkpoint)
    assert at_its_place(config, run / LAST) is config and not capsys.readouterr().err
    (run / "metrics.jsonl").write_text("")
    moved = run.rename(tmp_path / "renamed")
    placed = at_its_place(config, moved / LAST).training
    assert (placed.checkpoints, placed.name) == (str(tmp_path.resolve()), "renamed")
    assert f"was written to {run}, but now lies in {moved.resolve()}" in capsys.readouterr().err


def test_a_checkpoint_copied_without_its_run_gets_a_folder_of_it(checkpoint: Path, tmp_path: Path) -> None:
    single = Path(shutil.copytree(checkpoint, tmp_path / "desk" / "model"))
    assert run_folder_of(single, "tales") == (tmp_path / "desk" / "tales").resolve()
