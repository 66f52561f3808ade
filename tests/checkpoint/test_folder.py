"""A checkpoint folder: what is written comes back, what is pruned, what is refused and how that is said."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sunfish.checkpoint.folder import (
    LAST,
    load_checkpoint,
    load_trainer,
    prune_checkpoints,
    read_metadata,
    save_checkpoint,
    update_symlink,
)
from sunfish.tokenizers import build_tokenizer
from sunfish.utils import file_sha256
from tests.tiny_checkpoint import CONFIG, story_tokenizer, train_on_stories, write_checkpoint

OLD_FORMAT = "sunfish-checkpoint-1"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "run" / "step-0000000")


def edit_metadata(checkpoint: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = checkpoint / "config.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


def test_what_is_written_comes_back(checkpoint: Path) -> None:
    loaded, model = load_checkpoint(checkpoint), train_on_stories(CONFIG, 0)
    assert (loaded.config, loaded.step, loaded.path) == (CONFIG, 0, checkpoint)
    assert loaded.tokenizer.engine.to_str() == story_tokenizer().engine.to_str()
    assert loaded.prompt_tokenizer is loaded.tokenizer and not loaded.model.training
    weights = loaded.model.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert load_trainer(checkpoint) == {"step": 0}
    assert (checkpoint / "README.md").read_text() == "# A tiny model\n"
    assert not list(checkpoint.parent.glob("*.writing"))


def test_prompts_may_have_a_tokenizer_of_their_own(tmp_path: Path) -> None:
    model, prompts = train_on_stories(CONFIG, 0), build_tokenizer("bytes", 257, [])
    folder = save_checkpoint(tmp_path / "c", CONFIG, model, story_tokenizer(), prompts, {"step": 7}, "card")
    loaded = load_checkpoint(folder)
    assert loaded.step == 7 and loaded.prompt_tokenizer.engine.to_str() == prompts.engine.to_str()
    assert loaded.tokenizer.size != loaded.prompt_tokenizer.size


def test_a_checkpoint_is_replaced_as_a_whole(checkpoint: Path) -> None:
    """Also where an earlier process was killed while it wrote."""
    unfinished = checkpoint.with_name(checkpoint.name + ".writing")
    unfinished.mkdir()
    (unfinished / "half").write_text("")
    (checkpoint / "notes").write_text("")
    model = train_on_stories(CONFIG, 0)
    save_checkpoint(checkpoint, CONFIG, model, story_tokenizer(), None, {"step": 5}, "card")
    assert read_metadata(checkpoint)["step"] == 5 and not (checkpoint / "notes").exists()
    assert not unfinished.exists()


def test_a_link_names_one_checkpoint_at_a_time(checkpoint: Path) -> None:
    link, other = checkpoint.parent / LAST, write_checkpoint(checkpoint.with_name("step-0000009"))
    for folder in (checkpoint, other):
        update_symlink(link, folder)
        assert link.is_symlink() and link.resolve() == folder and not link.readlink().is_absolute()
    assert read_metadata(link)["step"] == 0


def test_pruning_keeps_last_best_and_milestones(tmp_path: Path) -> None:
    model = train_on_stories(CONFIG, 0)
    folders = {
        step: save_checkpoint(
            tmp_path / f"step-{step:07}", CONFIG, model, story_tokenizer(), None, {"step": step}, "card"
        )
        for step in range(3, 28, 3)
    }
    (tmp_path / "samples.md").write_text("")
    (tmp_path / "step-notes").write_text("")
    prune_checkpoints(tmp_path, {folders[27], folders[15]}, every=3)
    kept = sorted(int(path.name.removeprefix("step-")) for path in tmp_path.glob("step-0*"))
    assert kept == [3, 6, 12, 15, 24, 27]
    for step in (15, 27):
        assert load_trainer(folders[step]) == {"step": step}
    with pytest.raises(ValueError, match=r"can be sampled but not resumed.*pruned; use last.ckpt"):
        load_trainer(folders[12])
    assert load_checkpoint(folders[12]).step == 12
    assert (tmp_path / "samples.md").exists() and (tmp_path / "step-notes").exists()


def test_the_folder_of_a_run_is_told_from_its_checkpoint(checkpoint: Path) -> None:
    update_symlink(checkpoint.parent / LAST, checkpoint)
    with pytest.raises(ValueError, match=r"folder of a run; its last checkpoint is .*run/last\.ckpt"):
        read_metadata(checkpoint.parent)


@pytest.mark.parametrize("name", ["prompt_tokenizer.json", "tokenizer.json", "model.safetensors"])
def test_a_checkpoint_that_lost_a_file_is_refused(checkpoint: Path, name: str) -> None:
    if name == "prompt_tokenizer.json":  # as a run with an hf: prompt encoder has it
        edit_metadata(checkpoint, lambda metadata: metadata["files"].update({name: "0" * 64}))
    else:
        (checkpoint / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing or damaged; use an earlier checkpoint"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "trainer/state.pt"])
def test_one_changed_byte_is_noticed(checkpoint: Path, name: str) -> None:
    content = bytearray((checkpoint / name).read_bytes())
    content[len(content) // 2] ^= 1
    (checkpoint / name).write_bytes(content)
    read = load_trainer if name.startswith("trainer") else load_checkpoint
    with pytest.raises(ValueError, match=rf"{name} is (missing or )?damaged.*use an earlier checkpoint"):
        read(checkpoint)


def test_another_shape_is_refused(checkpoint: Path) -> None:
    width = CONFIG.model.n_embd
    edit_metadata(checkpoint, lambda metadata: metadata["config"]["model"].update(n_embd=2 * width))
    message = r"its weights do not fit its config.json: size mismatch for token_embedding: .* Move it to"
    with pytest.raises(ValueError, match=message) as error:
        load_checkpoint(checkpoint)
    assert "\n" not in str(error.value)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    """Weights that this configuration does not have, and some that are missing."""
    checkpoint = write_checkpoint(tmp_path / "c", CONFIG.with_fields(smear=False))
    edit_metadata(checkpoint, lambda about: about["config"]["model"].update(smear=True, draft_head=False))
    message = r"of another architecture: missing \['smear.*unknown \['draft_head.*Move it"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("key", ["step", "config", "files"])
def test_half_a_config_is_damage(checkpoint: Path, key: str) -> None:
    edit_metadata(checkpoint, lambda metadata: metadata.pop(key))
    with pytest.raises(
        ValueError, match=rf"config.json is damaged \(no '{key}'\); use an earlier checkpoint"
    ):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("content", ["{", "\xff"])
def test_a_config_that_cannot_be_read_is_damage(checkpoint: Path, content: str) -> None:
    (checkpoint / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"config.json is damaged \(.*\); use an earlier checkpoint"):
        read_metadata(checkpoint)


@pytest.mark.parametrize("form", [OLD_FORMAT, "other", 2])
def test_an_old_format_is_refused_with_what_it_is_and_what_to_do(checkpoint: Path, form: object) -> None:
    """Before anything else of the folder is read."""
    edit_metadata(checkpoint, lambda metadata: metadata.update(format=form, files=None, config=None))
    for read in (read_metadata, load_checkpoint, load_trainer):
        with pytest.raises(ValueError) as error:
            read(checkpoint)
        message = str(error.value)
        assert message.startswith(f"{checkpoint} was written by another version of SunFish (format {form!r})")
        assert "it reads 'sunfish-checkpoint-2'" in message and "\n" not in message
        assert message.endswith(
            "Move it to checkpoints_old_architecture/ and train afresh with ./start_training.sh (or: sunfish train)."
        )
    assert (checkpoint / "model.safetensors").exists()


def test_a_config_of_another_kind_is_no_checkpoint(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("[1, 2]")
    with pytest.raises(
        ValueError, match=r"config.json has no format entry.* is no checkpoint. Give the folder"
    ):
        read_metadata(checkpoint)


@pytest.mark.parametrize("kind", ["torch", "pickle", "empty", "text"])
def test_a_file_is_no_checkpoint_and_is_not_unpickled(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "last.ckpt"
    if kind == "torch":
        torch.save({"model": torch.zeros(2)}, path)
    else:
        path.write_bytes({"pickle": pickle.dumps(Bomb(), 4), "empty": b"", "text": b"weights"}[kind])
    words = {"empty": "an empty file", "text": "a file of another kind"}.get(kind, "a pickled PyTorch file")
    remedy = "Give the folder of a checkpoint" if kind in ("empty", "text") else "Move it to"
    with pytest.raises(ValueError, match=rf"last.ckpt is {words}.*left as it is. {remedy}"):
        load_checkpoint(path)
    assert path.exists()


class Bomb:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("it was unpickled",)


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no checkpoint at .*nowhere. Train one first"):
        read_metadata(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"a folder that holds nothing, but a SunFish checkpoint is"):
        read_metadata(tmp_path)
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=r"a folder that holds a.txt, b.txt, but a SunFish checkpoint is"):
        read_metadata(tmp_path)


def test_resuming_unpickles_tensors_and_plain_values_only(checkpoint: Path) -> None:
    state = checkpoint / "trainer" / "state.pt"
    torch.save({"step": 3, "bomb": Bomb()}, state)
    edit_metadata(
        checkpoint, lambda metadata: metadata["files"].update({"trainer/state.pt": file_sha256(state)})
    )
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load_trainer(checkpoint)
