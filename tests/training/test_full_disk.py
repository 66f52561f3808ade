"""A disk that fills up, or refuses to be written, at any moment of a run: nothing is lost that was saved."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sunfish.checkpoint.folder import load_trainer, prune_checkpoints, read_metadata
from sunfish.checkpoint.links import LAST, update_link
from sunfish.config import Config
from sunfish.disk import writing as disk
from sunfish.training.logger import Logger
from sunfish.training.trainer import Trainer, train
from tests.limits import largest_file
from tests.runs import config, losses

STEPS = 4
pytestmark = pytest.mark.usefixtures("quick_samples")


class FailingDisk:
    """Every write of the program from number ``at`` on fails; with ``at`` 0 they are only counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.number, self.writes = 0, errno.ENOSPC, 0
        whole = disk.writing

        @contextmanager
        def writing(path: Path) -> Iterator[None]:
            with whole(path):
                self.writes += 1
                if 0 < self.at <= self.writes:
                    raise OSError(self.number, "as the system says it")
                yield

        for name, module in list(sys.modules.items()):
            if name.startswith("sunfish.") and getattr(module, "writing", None) is whole:
                monkeypatch.setattr(module, "writing", writing)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    return FailingDisk(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder with the checkpoints of a run that nothing stopped, and how often that one wrote."""
    folder = tmp_path_factory.mktemp("undisturbed")
    Trainer(settings(folder))  # prepares the stories
    with pytest.MonkeyPatch.context() as patch:
        counted = FailingDisk(patch)
        train(settings(folder))
    return folder, counted.writes


@pytest.fixture
def folder(tmp_path: Path, undisturbed: tuple[Path, int]) -> Path:
    """A folder without a run; its data is prepared."""
    return tmp_path


def settings(folder: Path) -> Config:
    values = dict(name="run", max_steps=STEPS, eval_every=2, eval_texts=4)
    return config(folder, **values)


def debris(folder: Path) -> list[Path]:
    return [
        path for path in folder.rglob("*") if disk.TEMPORARY_NAME.fullmatch(path.name) or path.name == ".lock"
    ]


@pytest.mark.parametrize(
    ("share", "number"),
    [
        (0.45, errno.EDQUOT),
        (0.97, errno.ENOSPC),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((0.0, errno.EROFS), (0.2, errno.ENOSPC))),
        pytest.param(0.6, errno.EIO, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_costs_what_was_not_saved_and_no_more(
    folder: Path, undisturbed: tuple[Path, int], failing: FailingDisk, share: float, number: int
) -> None:
    """The write at ``share`` of all writes of a run fails, and all after it; then there is room again."""
    run = folder / "ck" / "run"
    failing.at, failing.number = 1 + int(share * undisturbed[1]), number
    with pytest.raises(OSError, match=r" could not be written: .*; .*checkpoint") as error:
        train(settings(folder))
    failing.at = 0
    assert "\n" not in str(error.value) and not debris(folder)
    last = run / LAST if run.exists() and any(run.glob("step-*")) else None
    assert (last is not None) == ("The last good checkpoint is" in str(error.value))
    if last is not None:
        assert load_trainer(last)["step"] == read_metadata(last)["step"]
    train(settings(folder), last)
    assert losses(run) == losses(undisturbed[0] / "ck" / "run")


def test_a_limit_on_the_size_of_files_is_named_before_the_first_step(folder: Path) -> None:
    """As ``ulimit -f`` sets one."""
    words = r"run could not be written: .* in one file, but .*; raise the limit.*No checkpoint was saved yet"
    with largest_file(20_000), pytest.raises(OSError, match=words):
        train(settings(folder))
    assert not (folder / "ck").exists()


def test_a_disk_without_room_for_one_checkpoint_is_named_before_the_first_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sunfish.checkpoint.run_folder.free_disk", lambda path: 20_000.0)
    with pytest.raises(OSError, match=r"run could not be written: .* are free; make room on that disk"):
        train(settings(folder))
    assert not (folder / "ck").exists()


def test_logs_that_cannot_be_written_do_not_cost_the_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(logger: Logger, step: int, values: dict[str, float]) -> None:
        with disk.writing(logger.folder / "metrics.jsonl"):
            if step == 3:
                raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(Logger, "metrics", fail)
    with pytest.raises(
        OSError, match=r"metrics.jsonl could not be written.*last good checkpoint is .*step-0000003"
    ):
        train(settings(folder))
    assert load_trainer(folder / "ck" / LAST)["step"] == 3


def test_a_tracker_that_cannot_write_ends_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file in the way")
    logger = Logger(tmp_path, ["tensorboard"], {})
    logger.metrics(1, {"loss": 1.0})
    logger.metrics(2, {"loss": 1.0})
    logger.close()
    assert capsys.readouterr().err.count("note: tensorboard cannot write") == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def tree(folder: Path) -> dict[str, str]:
    """Every file and link, with what links name."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(p.relative_to(folder)): str(p.readlink()) if p.is_symlink() else "" for p in paths}


@pytest.mark.parametrize(
    "place",
    ["run/best.ckpt", "run/last.ckpt", "pruning", pytest.param("ck/last.ckpt", marks=pytest.mark.slow)],
)
def test_a_last_save_that_fails_half_way_is_completed_by_resuming(
    folder: Path, undisturbed: tuple[Path, int], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fails(path: Path, checkpoint: Path) -> bool:
        return checkpoint.name == f"step-{STEPS:07d}" and path.match(place)

    def update(link: Path, checkpoint: Path) -> None:
        if fails(link, checkpoint):
            raise disk.WriteError(link, errno.ENOSPC, "no space left on device")
        update_link(link, checkpoint)

    def prune(run: Path, keep: set[Path], every: int) -> None:
        if any(fails(run / "pruning", checkpoint) for checkpoint in keep):
            raise disk.WriteError(run, errno.ENOSPC, "no space left on device")
        prune_checkpoints(run, keep, every)

    with monkeypatch.context() as patch:
        patch.setattr("sunfish.checkpoint.run_folder.update_link", update)
        patch.setattr("sunfish.checkpoint.run_folder.prune_checkpoints", prune)
        with pytest.raises(OSError, match="could not be written"):
            train(settings(folder))
    train(settings(folder), folder / "ck" / LAST)
    assert tree(folder / "ck") == tree(undisturbed[0] / "ck")
