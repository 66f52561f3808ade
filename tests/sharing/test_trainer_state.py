"""The trainer's state without a pickle: every bit of it, and nothing that is no state."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sunfish.checkpoint.folder import load_trainer
from sunfish.cli import main
from sunfish.sharing.trainer_state import FORMAT, read_trainer, write_trainer
from sunfish.utils import file_sha256
from tests.conftest import Workplace
from tests.sharing.conftest import NAME
from tests.sharing.hub_server import Hub

STATE: dict[str, Any] = {
    "step": 3,
    "best": math.inf,
    "seconds": 0.1,
    "note": None,
    "model": {
        "a.b": torch.randn(2, 3).t(),
        "c": torch.tensor(1.5, dtype=torch.bfloat16),
        "e": torch.zeros(0, 4),
    },
    "optimizers": [
        {"state": {0: {"step": torch.tensor(7)}}, "param_groups": [{"betas": (0.9, 0.95), "on": True}]}
    ],
}


def same(left: Any, right: Any) -> bool:
    """Equal in values and in types, to the last bit; a table may be ordered by its type or not."""
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_trainer(STATE, tmp_path / "t.safetensors")
    assert same(read_trainer(tmp_path / "t.safetensors"), STATE)


def test_what_no_state_holds_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a trainer's state holds a PosixPath"):
        write_trainer({"folder": tmp_path}, tmp_path / "t.safetensors")


def header(**values: str) -> dict[str, str]:
    """The metadata of a file, by default of one that holds no tensor."""
    return {"format": FORMAT, "state": "{}", **values}


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"by": "others"}, "its format is None"),
        (header(format="pt"), "its format is 'pt'"),
        (header(), "its hash differs"),
        (header(sha256="0" * 64), "its hash differs"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, metadata: dict[str, str], said: str) -> None:
    save_file({}, tmp_path / "t.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=f"t.safetensors is damaged \\({said}"):
        read_trainer(tmp_path / "t.safetensors")


@pytest.mark.parametrize(
    "state",
    [
        "",
        "{}",
        "[]",
        '"x"',
        '{"tensor": "9"}',
        '{"float": 3}',
        '{"code": "x"}',
        '{"dict": [[[1], 2]]}',
        "[" * 10**5,
    ],
)
def test_a_state_of_another_form_is_refused(
    tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sunfish.sharing.trainer_state._digest", lambda text, tensors: "right")
    save_file({}, tmp_path / "t.safetensors", metadata=header(state=state, sha256="right"))
    with pytest.raises(ValueError, match=r"t\.safetensors is damaged"):
        read_trainer(tmp_path / "t.safetensors")


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_turned_bit_is_found(tmp_path: Path, place: int) -> None:
    file = tmp_path / "t.safetensors"
    write_trainer(STATE, file)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.safetensors is damaged"):
        read_trainer(file)


@pytest.mark.slow
def test_a_run_is_resumed_from_the_hub_bit_for_bit(
    hub: Hub, trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(trained.checkpoint), NAME, "--resumable"]) == 0
    content = hub.repositories[NAME].files()
    assert "trainer.safetensors" in content and not any(b"torch._utils" in part for part in content.values())
    assert main(["pull", NAME, "robots"]) == 0
    assert not (tmp_path / "robots" / "trainer.safetensors").exists()
    assert same(load_trainer(tmp_path / "robots"), load_trainer(trained.checkpoint))
    for number, checkpoint in enumerate((trained.checkpoint, Path("robots"))):
        words = ["train", "--resume", str(checkpoint), "--max_steps", "4", "--checkpoints", f"runs{number}"]
        assert main([*words, "--data_folder", str(trained.folder / "data")]) == 0
    last = [f"runs{number}/trained/last.ckpt/model.safetensors" for number in (0, 1)]
    assert file_sha256(Path(last[0])) == file_sha256(Path(last[1]))
    assert "is now at" not in capsys.readouterr().err


def test_a_pruned_checkpoint_cannot_be_resumable(
    hub: Hub, trained: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pruned = Path(shutil.copytree(trained.checkpoint.resolve(), tmp_path / "pruned"))
    shutil.rmtree(pruned / "trainer")
    assert main(["push", str(pruned), NAME, "--resumable"]) == 1
    assert "can be sampled but not resumed: it has no trainer/state.pt" in capsys.readouterr().err
    assert hub.repositories == {} and json.loads((pruned / "config.json").read_text())["step"] == 3


def test_a_damaged_state_of_a_repository_leaves_nothing(
    shared: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = shared.repositories[NAME]
    shared.add(NAME, {**repository.files(), "trainer.safetensors": b"\x80\x02."})
    assert main(["pull", NAME, "robots"]) == 1
    assert f"error: {NAME} cannot be used: trainer.safetensors is damaged" in capsys.readouterr().err
    write_trainer({"step": 4, "corpus": {}, "environment": {}}, tmp_path / "other.safetensors")
    shared.add(
        NAME, {**repository.files(), "trainer.safetensors": (tmp_path / "other.safetensors").read_bytes()}
    )
    assert main(["pull", NAME, "robots"]) == 1
    assert "it is not the state after step 3" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "other.safetensors"]
