"""A resumed run is the same run, or says why not: its text, its tokenizer, its folder, its machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sunfish.checkpoint.folder import LAST, load_trainer
from sunfish.config import Config
from sunfish.config.presets import preset
from sunfish.tokenizers import build_tokenizer
from sunfish.training.resume import compare_corpus, compare_environment, environment
from sunfish.training.trainer import Trainer, train
from sunfish.utils import UsageError
from tests.runs import config, losses

pytestmark = pytest.mark.usefixtures("quick_samples")
TALES = [f"The fox number {i} ran over hill {i % 7} and slept." for i in range(60)]
STRANGE = [f"Zyx wvut {i} qqq jjj, zyx wvut {i % 5}!" for i in range(60)]


def write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def settings(folder: Path, **values: object) -> Config:
    values = {"data": str(write(folder / "tales.txt", TALES)), "name": "run", "max_steps": 6, **values}
    return config(folder, **values)


def steps(trainer: Trainer, count: int) -> list[float]:
    return [trainer.train_step()[0].total.item() for _ in range(count)]


def begin(run: Config) -> tuple[Path, list[float]]:
    """A checkpoint after two steps, and the losses of the next two."""
    trainer = Trainer(run)
    steps(trainer, 2)
    return trainer.save(), steps(trainer, 2)


def moved(folder: Path) -> Path:
    return Path(shutil.move(folder / "tales.txt", folder / "elsewhere.txt"))


def touched(folder: Path) -> Path:
    os.utime(folder / "tales.txt", (1, 1))
    return folder / "tales.txt"


def without_prepared(folder: Path) -> Path:
    shutil.rmtree(folder / "data")
    return folder / "tales.txt"


def with_other_line_ends(folder: Path) -> Path:
    path = folder / "tales.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return path


FAST = [("bpe", moved), ("path", without_prepared), ("characters", touched), ("bpe", with_other_line_ends)]
SLOW = [
    (kind, change)
    for kind in ("bpe", "path", "characters")
    for change in (moved, touched, without_prepared, with_other_line_ends)
    if (kind, change) not in FAST
]


@pytest.mark.parametrize(
    ("kind", "change"), [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_the_same_text_is_the_same_run(tmp_path: Path, kind: str, change: Callable[[Path], Path]) -> None:
    """Bit for bit, wherever the text lies now, and whatever became of a published vocabulary."""
    if kind == "path":
        vocabulary = tmp_path / "tokenizer.json"
        build_tokenizer("bpe", 300, STRANGE).save(vocabulary)
        kind = str(vocabulary)
    run = settings(tmp_path, tokenizer=kind)
    checkpoint, expected = begin(run)
    data = change(tmp_path)
    if Path(kind).exists():
        Path(kind).unlink()
    resumed = Trainer(run.with_fields(data=str(data)), checkpoint)
    assert steps(resumed, 2) == expected
    assert any("is now at" in note for note in resumed.notes) == (change is moved)


@pytest.mark.parametrize(
    ("texts", "now"),
    [
        (TALES[:40], "40 documents"),
        ([*TALES[1:], TALES[0]], "not the same ones"),
        pytest.param([*TALES, *STRANGE], "120 documents", marks=pytest.mark.slow),
        pytest.param([TALES[0].replace("fox", "hen"), *TALES[1:]], "60 documents", marks=pytest.mark.slow),
    ],
)
def test_other_text_is_refused_or_meant(tmp_path: Path, texts: list[str], now: str) -> None:
    run = settings(tmp_path)
    checkpoint, _ = begin(run)
    tokenizer = (checkpoint / "tokenizer.json").read_text()
    write(tmp_path / "tales.txt", texts)
    with pytest.raises(ValueError, match=r"tales\.txt is not the text .*60 documents.*--data") as why:
        Trainer(run, checkpoint)
    assert now in str(why.value) and "\n" not in str(why.value)
    resumed = Trainer(run, checkpoint, other_data=True)
    assert any("continues on it with the checkpoint's tokenizer" in note for note in resumed.notes)
    assert (resumed.save() / "tokenizer.json").read_text() == tokenizer
    assert Trainer(run, tmp_path / "ck/run" / LAST).step == 2, "the new text is that of the run from here on"


def test_characters_that_a_resumed_run_does_not_know_are_counted(tmp_path: Path) -> None:
    run = settings(tmp_path, tokenizer="characters")
    checkpoint, _ = begin(run)
    write(tmp_path / "tales.txt", [*TALES, "ж", "Ω is new"])
    resumed = Trainer(run, checkpoint, other_data=True)
    assert sum(skip["count"] for skip in resumed.prepared.manifest["skips"].values()) == 2
    assert "not encodable: character 'ж'" in str(resumed.prepared.manifest["skips"])


def test_a_text_that_has_gone_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is also looked for where it was, seen from another folder."""
    monkeypatch.chdir(tmp_path)
    run = settings(tmp_path, data="tales.txt")
    checkpoint, expected = begin(run)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert steps(Trainer(run, checkpoint), 2) == expected
    moved(tmp_path)
    with pytest.raises(ValueError, match=r"tales\.txt, which does not exist.*--data PATH"):
        Trainer(run, checkpoint)


def test_resumed_again_and_again_it_is_the_run_that_nobody_stopped(tmp_path: Path) -> None:
    whole = settings(tmp_path, name="whole", decay_fraction=0.0)  # a decay would follow each run's own end
    train(whole)
    for stop in (2, 3, 5, 6):
        last = tmp_path / "ck/broken" / LAST
        train(whole.with_fields(name="broken", max_steps=stop), last if last.exists() else None)
    assert losses(tmp_path / "ck/broken") == losses(tmp_path / "ck/whole")


def test_a_run_never_falls_behind_its_last_checkpoint(tmp_path: Path) -> None:
    run = settings(tmp_path)
    trainer = Trainer(run)
    steps(trainer, 1)
    early = tmp_path / "early"
    shutil.copytree(trainer.save(), early)
    steps(trainer, 2)
    trainer.save()
    shutil.copytree(early, tmp_path / "ck/run/step-0000001", dirs_exist_ok=True)
    with pytest.raises(UsageError, match=r"at step 3, and resuming from step 1 would replace.*--name"):
        Trainer(run, tmp_path / "ck/run/step-0000001")
    assert Trainer(run.with_fields(name="branch"), early).step == 1
    with pytest.raises(ValueError, match="already holds a run"):
        Trainer(run, early)
    (tmp_path / "ck/run" / LAST / "config.json").write_text("{")
    assert Trainer(run, tmp_path / "ck/run/step-0000001").step == 1, "the last one is damaged"


def test_a_run_at_its_limit_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = settings(tmp_path, max_steps=2)
    last = train(run)
    capsys.readouterr()
    assert train(run.with_fields(max_steps=1), tmp_path / "ck/run" / LAST) == last
    assert "nothing is left to do: the run has 2 steps" in capsys.readouterr().err


def test_another_machine_is_named(tmp_path: Path) -> None:
    run = settings(tmp_path)
    checkpoint, _ = begin(run)
    threads = torch.get_num_threads()
    try:
        (note,) = filter(None, Trainer(run.with_fields(threads=2), checkpoint).notes)
    finally:
        torch.set_num_threads(threads)
    assert "threads 1 -> 2" in note and "last digits" in note
    assert not any(Trainer(run, checkpoint).notes)
    old = {"torch": "1", "threads": 2}
    assert compare_environment(old, {**old, "numpy": "2"}) == ""


def test_a_damaged_tokenizer_of_a_checkpoint_is_named(tmp_path: Path) -> None:
    run = settings(tmp_path)
    checkpoint, _ = begin(run)
    file = checkpoint / "tokenizer.json"
    file.write_text(file.read_text().replace("fox", "fix"))
    with pytest.raises(ValueError, match=r"tokenizer\.json is missing or damaged"):
        Trainer(run, checkpoint)


def test_a_copy_has_the_tokenizer_of_its_teacher(tmp_path: Path) -> None:
    run = settings(tmp_path)
    checkpoint, _ = begin(run)
    write(tmp_path / "tales.txt", [*TALES, *STRANGE])
    copy = Trainer(run.with_fields(name="copy", teacher=str(checkpoint)))
    assert (copy.save() / "tokenizer.json").read_text() == (checkpoint / "tokenizer.json").read_text()


def test_a_checkpoint_records_its_text_and_its_machine(tmp_path: Path) -> None:
    run = settings(tmp_path)
    checkpoint, _ = begin(run)
    state, prepared = load_trainer(checkpoint), Trainer(run.with_fields(name="other")).prepared
    splits = [prepared.split(name) for name in ("train", "validation")]
    tokens = sum(int(split.lengths.sum()) for split in splits)
    path = str((tmp_path / "tales.txt").absolute())
    assert state["corpus"] == {"path": path, "digest": prepared.digest, "documents": 60, "tokens": tokens}
    expected = {"device": "cpu", "threads": 1, "precision": "float32", "torch": torch.__version__}
    assert expected.items() <= state["environment"].items()
    assert state["environment"]["numpy"] == np.__version__
    assert environment(torch.device("cpu"), 3, torch.bfloat16)["precision"] == "bfloat16"


def test_changes_are_named_with_old_and_new_values() -> None:
    old = {"torch": "1", "threads": 2, "precision": "float32"}
    assert compare_environment(old, {**old, "threads": 4, "torch": "2"}) == (
        "note: torch 1 -> 2, threads 2 -> 4 since the checkpoint: losses can differ in their last digits"
    )
    record = {"path": "/a/tales.txt", "digest": "x", "documents": 1000, "tokens": 20_000}
    run = preset("nano", data="tales.txt")
    assert compare_corpus(record, record, run, False) == ""
    moved = {**record, "path": "/b/tales.txt"}
    assert (
        compare_corpus(record, moved, run, False)
        == "the text that the run learned from is now at /b/tales.txt"
    )
    other = {**record, "digest": "y", "tokens": 21_000}
    change = (
        "tales.txt is not the text that the run has learned from: 1,000 documents and 20,000 tokens then, "
        "1,000 documents and 21,000 tokens now"
    )
    assert compare_corpus(record, other, run, True).startswith(f"note: {change}; training continues on it")
    with pytest.raises(ValueError, match=f"^{change}; restore the text, or give --data tales.txt"):
        compare_corpus(record, other, run, False)
    stories = preset("nano")
    with pytest.raises(
        ValueError, match="; use the version of SunFish that began the run, or give --data stories"
    ):
        compare_corpus(record, other, stories, False)
