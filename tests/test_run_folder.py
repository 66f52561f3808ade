"""The folder of a run: what is kept, what is never overwritten, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sunfish.checkpoint.folder import load_checkpoint, load_trainer, read_about
from sunfish.training.trainer import train
from tests.runs import config


def test_a_second_run_never_overwrites_the_first(tmp_path: Path) -> None:
    settings = config(tmp_path, name="twice", max_steps=3)
    train(settings)
    with pytest.raises(ValueError, match=r"twice already holds a run.*--resume"):
        train(settings)


def test_thinning_keeps_last_best_and_milestones(tmp_path: Path) -> None:
    train(config(tmp_path, name="thin", max_steps=27))
    kept = sorted(int(p.name.removeprefix("step-")) for p in (tmp_path / "ck/thin").glob("step-*"))
    assert kept == [3, 6, 12, 24, 27]
    assert (tmp_path / "ck/thin/step-0000027/trainer/state.pt").is_file()
    with pytest.raises(ValueError, match="thinned"):
        load_trainer(tmp_path / "ck/thin/step-0000012")
    assert load_checkpoint(tmp_path / "ck/thin/step-0000012").step == 12


def test_the_folder_of_a_run_is_told_from_its_checkpoint(tmp_path: Path) -> None:
    train(config(tmp_path, name="run", max_steps=2))
    with pytest.raises(ValueError, match=r"folder of a run; its last checkpoint is .*run/last\.ckpt"):
        read_about(tmp_path / "ck/run")


def test_resuming_a_finished_run_leaves_its_checkpoint_alone(tmp_path: Path) -> None:
    settings = config(tmp_path, name="done", max_steps=3)
    last = train(settings)
    before = (last / "config.json").stat()
    assert train(settings, tmp_path / "ck/done/last.ckpt") == last
    after = (last / "config.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("name", ["prompt_tokenizer.json", "tokenizer.json", "model.safetensors"])
def test_a_checkpoint_that_lost_a_file_is_refused(tmp_path: Path, name: str) -> None:
    last = train(config(tmp_path, name="whole", max_steps=1))
    if name == "prompt_tokenizer.json":  # as a run with an hf: prompt encoder has it
        about = json.loads((last / "config.json").read_text())
        about["files"][name] = "0" * 64
        (last / "config.json").write_text(json.dumps(about))
    else:
        (last / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing or damaged"):
        load_checkpoint(last)


def test_a_checkpoint_with_another_shape_or_half_a_config_is_refused(tmp_path: Path) -> None:
    last = train(config(tmp_path, name="edited", max_steps=1))
    about = json.loads((last / "config.json").read_text())
    width = about["config"]["model"]["n_embd"]
    about["config"]["model"]["n_embd"] = 2 * width
    (last / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"its weights do not fit its config.json"):
        load_checkpoint(last)
    del about["files"]
    (last / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"damaged \(no 'files'\)"):
        load_checkpoint(last)
