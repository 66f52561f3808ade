"""``config.json`` of a checkpoint: what is no checkpoint, every change in it, and values that mean harm."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path

import pytest
import torch

from sunfish.checkpoint.folder import load_checkpoint, load_trainer, read_metadata
from tests.tiny_checkpoint import edit_metadata

OLD_FORMAT = "sunfish-checkpoint-2"


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
        assert "it reads 'sunfish-checkpoint-3'" in message and "\n" not in message
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


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no checkpoint at .*nowhere. Train one first"):
        read_metadata(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"a folder that holds nothing, but a SunFish checkpoint is"):
        read_metadata(tmp_path)
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=r"a folder that holds a.txt, b.txt, but a SunFish checkpoint is"):
        read_metadata(tmp_path)


class Bomb:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("it was unpickled",)


def test_a_flipped_bit_is_named_wherever_it_is(checkpoint: Path) -> None:
    path, dice = checkpoint / "config.json", random.Random(3)
    whole = path.read_bytes()
    for _ in range(200):
        changed = bytearray(whole)
        changed[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"config.json|another version") as error:
            read_metadata(checkpoint)
        assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_a_change_by_hand_is_told_from_damage(checkpoint: Path) -> None:
    path = checkpoint / "config.json"
    path.write_text(path.read_text().replace('"max_steps": 0', '"max_steps": 9'))
    with pytest.raises(ValueError, match=r"was changed after it was written.*give its flag to --resume"):
        read_metadata(checkpoint)


HOSTILE = {
    "text": "not JSON",
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 50_000,
    "long number": '{"format": "sunfish-checkpoint-3", "step": ' + "9" * 5000 + "}",
    "no number": '{"format": "sunfish-checkpoint-3", "step": NaN}',
    "infinite": '{"format": "sunfish-checkpoint-3", "step": -Infinity}',
    "twice": '{"format": "sunfish-checkpoint-3", "format": "sunfish-checkpoint-3"}',
    "large": " " * 2**20 + "{}",
    "NUL": "\0" * 100,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_damage(checkpoint: Path, content: str) -> None:
    (checkpoint / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json is damaged \(.*\); use an earlier") as error:
        read_metadata(checkpoint)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


WRONG: dict[str, object] = {
    **{"null": None, "true": True, "negative": -1, "huge": 2**70, "fraction": 0.5, "word": "x"},
    **{"no list": [], "no table": {}, "list": [1], "table": {"a": 1}, "NUL": "\0", "path": "../../x"},
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("key", ["format", "step", "config", "files"])
def test_wrong_kinds_are_refused_at_the_top(checkpoint: Path, key: str, value: object) -> None:
    edit_metadata(checkpoint, lambda metadata: metadata.update({key: value}))
    if (key, value) == ("config", {}):
        pytest.skip("an empty table is the default configuration")
    with pytest.raises(ValueError, match=r"config.json|another version"):
        load_checkpoint(checkpoint)


SETTINGS = {
    "model": ("n_layer", "mlp_ratio", "smear", "prompt_encoder"),
    "process": ("process", "uniform_share"),
    "corpus": ("data", "stories"),
    "training": ("block_lengths", "trackers", "name", "learning_rate", "compile"),
}


@pytest.mark.parametrize("group", SETTINGS)
def test_wrong_kinds_are_refused_in_every_setting(checkpoint: Path, group: str) -> None:
    path = checkpoint / "config.json"
    whole = path.read_text()
    for name in SETTINGS[group]:
        right = type(json.loads(whole)["config"][group][name])
        for value in WRONG.values():
            fits = type(value) is right and value not in (2**70, [1])
            if fits or (right is float and type(value) is int) or value == [1]:
                continue  # a value that another rule judges
            path.write_text(whole)
            edit_metadata(checkpoint, lambda about, v=value, n=name: about["config"][group].update({n: v}))
            with pytest.raises(ValueError, match=rf"config.json is damaged \(.* says that {name} is"):
                read_metadata(checkpoint)


@pytest.mark.parametrize(
    "name", ["../../secret", "/etc/passwd", "notes", "trainer/../config.json", "config.json"]
)
def test_no_other_file_is_ever_looked_up(checkpoint: Path, name: str) -> None:
    edit_metadata(checkpoint, lambda metadata: metadata["files"].update({name: "0" * 64}))
    with pytest.raises(ValueError, match=r"files names .*, which no checkpoint has"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "trainer/state.pt"])
def test_a_link_out_of_the_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    outside = (checkpoint / name).rename(tmp_path / "outside")
    (checkpoint / name).symlink_to(outside)
    with pytest.raises(ValueError, match=r"is a link to .*outside, outside the checkpoint"):
        (load_trainer if name.startswith("trainer") else load_checkpoint)(checkpoint)
