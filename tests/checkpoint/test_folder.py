"""A checkpoint folder: what is written comes back whole, what is pruned, what damage is noticed."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sunfish.checkpoint.folder import (
    load_checkpoint,
    load_trainer,
    prune_checkpoints,
    read_metadata,
    save_checkpoint,
    save_for_inference,
)
from sunfish.checkpoint.links import LAST, linked_folders, update_link
from sunfish.disk import writing as disk
from sunfish.disk.lock import shared_lock
from sunfish.rng import RowGenerators, make_generator
from sunfish.tokenizers import build_tokenizer
from sunfish.training.resume import load_resumed
from tests.limits import largest_file
from tests.tiny_checkpoint import (
    CONFIG,
    edit_metadata,
    story_tokenizer,
    train_on_stories,
    trainer_state,
    write_checkpoint,
)


def test_what_is_written_comes_back(checkpoint: Path) -> None:
    loaded, model = load_checkpoint(checkpoint), train_on_stories(CONFIG, 0)
    assert (loaded.config, loaded.step, loaded.path) == (CONFIG, 0, checkpoint)
    assert loaded.tokenizer.engine.to_str() == story_tokenizer().engine.to_str()
    assert loaded.prompt_tokenizer is loaded.tokenizer and not loaded.model.training
    weights = loaded.model.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert load_trainer(checkpoint) == trainer_state(0)
    assert (checkpoint / "README.md").read_text() == "# A tiny model\n"
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_prompts_may_have_a_tokenizer_of_their_own(tmp_path: Path) -> None:
    model, prompts = train_on_stories(CONFIG, 0), build_tokenizer("bytes", 257, [])
    folder = save_checkpoint(
        tmp_path / "c", CONFIG, model, story_tokenizer(), prompts, trainer_state(7), "card"
    )
    loaded = load_checkpoint(folder)
    assert loaded.step == 7 and loaded.prompt_tokenizer.engine.to_str() == prompts.engine.to_str()
    assert loaded.tokenizer.size != loaded.prompt_tokenizer.size


def test_a_copy_for_inference_holds_half_the_bytes_and_nothing_of_the_trainer(tmp_path: Path) -> None:
    """Each weight is what IEEE 754 rounds it to, as numpy does, and the network is built in float32."""
    model, prompts = train_on_stories(CONFIG, 0), build_tokenizer("bytes", 257, [])
    source = save_checkpoint(
        tmp_path / "c", CONFIG, model, story_tokenizer(), prompts, trainer_state(7), "card"
    )
    folder = save_for_inference(tmp_path / "d", load_checkpoint(source), "# Smaller")
    loaded = load_checkpoint(folder)
    assert (loaded.config, loaded.step) == (CONFIG, 7)
    assert loaded.prompt_tokenizer.engine.to_str() == prompts.engine.to_str()
    for name, weight in loaded.model.state_dict().items():
        expected = model.state_dict()[name].numpy().astype(np.float16).astype(np.float32)
        assert weight.dtype == torch.float32 and np.array_equal(weight.numpy(), expected), name
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, source)]
    assert sizes[0] < 0.6 * sizes[1] and (folder / "README.md").read_text() == "# Smaller"
    with pytest.raises(ValueError, match=r"can be sampled but not resumed: it has no trainer/state.pt"):
        load_trainer(folder)


def test_a_checkpoint_is_replaced_as_a_whole(checkpoint: Path) -> None:
    (checkpoint / "notes").write_text("")
    model = train_on_stories(CONFIG, 0)
    save_checkpoint(checkpoint, CONFIG, model, story_tokenizer(), None, trainer_state(5), "card")
    assert read_metadata(checkpoint)["step"] == 5 and not (checkpoint / "notes").exists()
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def sizes_between(checkpoint: Path) -> list[int]:
    """Limits on the size of a file under which the writes of a checkpoint fail at different files."""
    sizes = sorted(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    return [0, *(size - 1 for size in sizes), sizes[-1]]


def test_a_disk_that_refuses_any_file_leaves_all_as_it_was(checkpoint: Path) -> None:
    """PyTorch and safetensors each fail in a way of their own."""
    model, named = train_on_stories(CONFIG, 0), set()
    state = {**trainer_state(5), "padding": torch.zeros(100_000)}
    for limit in sizes_between(checkpoint):
        with (
            largest_file(limit),
            pytest.raises(OSError, match="could not be written: file too large; ") as error,
        ):
            save_checkpoint(checkpoint, CONFIG, model, story_tokenizer(), None, state, "card")
        named.add(str(error.value).partition(" could not")[0])
        assert "ulimit -f" in str(error.value) and "\n" not in str(error.value)
        assert list(checkpoint.parent.iterdir()) == [checkpoint] and load_checkpoint(checkpoint).step == 0
    assert {Path(name).name for name in named} == {"model.safetensors", "state.pt"}
    assert all(Path(name).is_relative_to(checkpoint) for name in named)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["flush", "rename"])
def test_a_disk_that_fails_late_leaves_all_as_it_was(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    """While the files are flushed, or the folder renamed."""

    def fail(*paths: Path) -> None:
        raise OSError(number, "as the system says it")

    place = (disk, "flush") if call == "flush" else (Path, "rename")
    monkeypatch.setattr(*place, fail)
    with pytest.raises(disk.WriteError, match="could not be written") as error:
        save_checkpoint(
            checkpoint, CONFIG, train_on_stories(CONFIG, 0), story_tokenizer(), None, trainer_state(5), "card"
        )
    monkeypatch.undo()
    assert ("make room" in str(error.value)) == (number in disk.NO_ROOM)
    assert list(checkpoint.parent.iterdir()) == [checkpoint] and load_checkpoint(checkpoint).step == 0


def test_a_checkpoint_that_is_read_is_not_pruned(checkpoint: Path) -> None:
    with shared_lock(checkpoint):
        prune_checkpoints(checkpoint.parent, set(), every=3)
        assert load_checkpoint(checkpoint).step == 0
    prune_checkpoints(checkpoint.parent, set(), every=3)
    assert not checkpoint.exists() and not list(checkpoint.parent.iterdir())


def test_reading_beside_a_trainer_never_fails(checkpoint: Path) -> None:
    """A thread saves and prunes as fast as it can; each read finds a whole checkpoint."""
    run, done, problems = checkpoint.parent, threading.Event(), []
    update_link(run / LAST, checkpoint)
    model = train_on_stories(CONFIG, 0)

    def save_all_the_time() -> None:
        step = 0
        try:
            while not done.is_set():
                step += 1
                folder = run / f"step-{step:07d}"
                save_checkpoint(folder, CONFIG, model, story_tokenizer(), None, trainer_state(step), "card")
                update_link(run / LAST, folder)
                prune_checkpoints(run, linked_folders(run), every=10**6)
        except Exception as why:
            problems.append(why)

    trainer = threading.Thread(target=save_all_the_time)
    trainer.start()
    steps, readers = [0], (load, load_trainer_step, metadata_step)
    try:
        while not problems and (len(steps) < 45 or steps[-1] < 5):
            steps.append(readers[len(steps) % 3](run / LAST))
    finally:
        done.set()
        trainer.join()
    assert not problems and steps == sorted(steps)


def load(path: Path) -> int:
    return load_checkpoint(path).step


def load_trainer_step(path: Path) -> int:
    return int(load_trainer(path)["step"])


def metadata_step(path: Path) -> int:
    return int(read_metadata(path)["step"])


def test_pruning_keeps_last_best_and_milestones(tmp_path: Path) -> None:
    model = train_on_stories(CONFIG, 0)
    folders = {
        step: save_checkpoint(
            tmp_path / f"step-{step:07}", CONFIG, model, story_tokenizer(), None, trainer_state(step), "card"
        )
        for step in range(3, 28, 3)
    }
    (tmp_path / "samples.md").write_text("")
    (tmp_path / "step-notes").write_text("")
    prune_checkpoints(tmp_path, {folders[27], folders[15]}, every=3)
    kept = sorted(int(path.name.removeprefix("step-")) for path in tmp_path.glob("step-0*"))
    assert kept == [3, 6, 12, 15, 24, 27]
    for step in (15, 27):
        assert load_trainer(folders[step]) == trainer_state(step)
    with pytest.raises(
        ValueError, match=r"can be sampled but not resumed.*no trainer/state.pt; use last.ckpt"
    ):
        load_trainer(folders[12])
    assert load_checkpoint(folders[12]).step == 12
    assert (tmp_path / "samples.md").exists() and (tmp_path / "step-notes").exists()


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


def other_weights(file: Path) -> None:
    save_file({name: value + 1 for name, value in load_file(file).items()}, file, metadata={"format": "pt"})


def other_state(file: Path) -> None:
    torch.save({**torch.load(file), "tokens": 1}, file)


def other_spaces(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()), indent=1))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.safetensors", other_weights),
        ("trainer/state.pt", other_state),
        ("tokenizer.json", other_spaces),
        ("prompt_tokenizer.json", other_spaces),
    ],
)
def test_a_whole_file_of_other_content_is_noticed(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    """Each file reads well by itself; only its hash tells."""
    words = (story_tokenizer(), build_tokenizer("bytes", 257, []), trainer_state(7), "card")
    folder = save_checkpoint(tmp_path / "c", CONFIG, train_on_stories(CONFIG, 0), *words)
    assert (
        load_checkpoint(folder).step
        == load_trainer(folder)["step"]
        == load_resumed(folder).state["step"]
        == 7
    )
    change(folder / name)
    readers = {
        "model.safetensors": [load_checkpoint],
        "trainer/state.pt": [load_trainer, load_resumed],
        "tokenizer.json": [load_checkpoint, load_resumed],
        "prompt_tokenizer.json": [load_checkpoint, load_resumed],
    }[name]
    for read in readers:
        with pytest.raises(ValueError, match=rf"{name} is missing or damaged.*use an earlier checkpoint"):
            read(folder)


def test_every_file_is_recorded_with_its_hash(checkpoint: Path) -> None:
    recorded = read_metadata(checkpoint)["files"]
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path.name != "config.json"]
    assert recorded == {
        path.relative_to(checkpoint).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_a_gaussian_checkpoint_has_the_embeddings_of_its_network(tmp_path: Path) -> None:
    """They are what its process adds noise to."""
    loaded = load_checkpoint(write_checkpoint(tmp_path / "c", CONFIG.with_fields(process="gaussian")))
    ids, t = torch.tensor([[5, 6]]), torch.zeros(1, 2)
    rng = RowGenerators([make_generator("x")])
    rows = loaded.model.token_embedding.detach()[ids]
    clean = rows / rows.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(loaded.process.corrupt(ids, t, rng)[..., : rows.shape[-1]], clean)
