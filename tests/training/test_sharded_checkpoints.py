"""Checkpoints of sharded weights: written in the background, complete or absent, and resumed by any run."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from sunfish.checkpoint.folder import LAST, load_checkpoint, load_trainer, read_metadata
from sunfish.checkpoint.links import BEST
from sunfish.checkpoint.resuming import fill_shards, read_trainer
from sunfish.checkpoint.trainer_state import named_tensors
from sunfish.cli import main
from sunfish.config import GenerationConfig
from sunfish.rng import derive_seed
from sunfish.sampling.generation_config import write_generation_config
from sunfish.training.logger import Logger
from sunfish.training.loss import training_loss
from sunfish.training.sharding import is_sharded, whole_state
from sunfish.training.trainer import Trainer, train
from tests.runs import config
from tests.training.launch import TORCHRUN, logged, run_of, wait_for, words_of

OTHERS = ("README.md", "model.safetensors", "tokenizer.json", "trainer/state.pt")
SHARDS = ["trainer/.metadata", "trainer/__0_0.distcp"]


@pytest.fixture(autouse=True)
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group that is gone after the test; other tests are alone."""
    monkeypatch.setattr(Trainer, "sample", lambda _: [("a prompt", "a text")])
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def sharded(folder: Path, **values: object) -> Trainer:
    return Trainer(config(folder, name="run", parallel="fsdp", **values))


def tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    """The whole tensors of a trainer's state."""
    return dict(named_tensors(whole_state(state, True)))


def same(state: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether all tensors are equal, bit by bit."""
    ours, theirs = tensors(state), tensors(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class Gate:
    """Holds back the writing of checkpoints until it opens; or lets it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.error = threading.Event(), None
        whole = FileSystemWriter.write_data

        def write(writer: FileSystemWriter, *words: Any) -> Any:
            assert self.opened.wait(60)
            if self.error:
                raise self.error
            return whole(writer, *words)

        monkeypatch.setattr(FileSystemWriter, "write_data", write)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_it_holds_all_of_a_run(tmp_path: Path) -> None:
    """The average for inference, every tensor that is sharded as rows, and the rest as it is everywhere."""
    run = sharded(tmp_path)
    for _ in range(3):
        run.train_step()
    folder, expected = run.save(), tensors(run.state())
    run.settle()
    saved, left = load_trainer(folder), dict(named_tensors(read_trainer(folder)))
    assert len(expected) > 60 and same(saved, run.state())
    assert {name for name, value in left.items() if value.is_meta} == {
        name for name, value in named_tensors(run.state()) if is_sharded(value)
    }
    counters = ("step", "tokens", "seconds", "best", "rollbacks", "corpus", "environment")
    assert {name: saved[name] for name in counters} == {name: run.state()[name] for name in counters}
    shown = load_checkpoint(folder)
    assert shown.step == 3
    for name, value in shown.model.state_dict().items():
        assert torch.equal(value, expected[f"average.{name}"]), name
    assert sorted(name for name in read_metadata(folder)["files"] if name in SHARDS) == SHARDS


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_either_kind_of_run_resumes_it(tmp_path: Path, parallel: str) -> None:
    """With the same weights and moments, and so the same steps."""
    run = sharded(tmp_path)
    for _ in range(2):
        run.train_step()
    folder = run.save()
    run.settle()
    other = Trainer(config(tmp_path, name="other", parallel=parallel), folder)
    assert other.step == 2 and same(other.state(), load_trainer(folder))
    for _ in range(2):
        ours, theirs = run.train_step()[0], other.train_step()[0]
        assert theirs.total.item() == pytest.approx(ours.total.item(), abs=1e-6)
    resumed = tensors(other.state())
    for name, value in tensors(run.state()).items():
        torch.testing.assert_close(resumed[name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_steps_do_not_wait_and_do_not_change_it(tmp_path: Path, gate: Gate) -> None:
    """Until it is whole, the checkpoint before it is the last one, and there is nothing by its name."""
    run = sharded(tmp_path)
    run.train_step()
    gate.opened.set()
    first = run.save()
    run.settle()
    gate.opened.clear()
    run.train_step()
    second, expected = run.save(), {name: value.clone() for name, value in tensors(run.state()).items()}
    for _ in range(3):
        run.train_step()
    last = tmp_path / "ck/run" / LAST
    assert not second.exists() and run.good == first and run.saved_step == 1
    assert read_metadata(last)["step"] == 1
    gate.opened.set()
    run.settle()
    assert run.good == second and run.saved_step == 2 and read_metadata(last)["step"] == 2
    saved = dict(named_tensors(load_trainer(last)))
    assert all(torch.equal(saved[name], value) for name, value in expected.items())
    assert not torch.equal(saved["model.token_embedding"], tensors(run.state())["model.token_embedding"])


def test_the_next_one_waits_for_the_one_before(tmp_path: Path, gate: Gate) -> None:
    run = sharded(tmp_path)
    first = run.save()
    run.train_step()
    threading.Timer(0.2, gate.opened.set).start()
    second = run.save()
    assert run.good == first and gate.opened.is_set()
    run.settle()
    assert run.good == second


def test_one_that_fails_ends_the_run_at_its_next_step(tmp_path: Path, gate: Gate) -> None:
    """With the file, the reason and the last good checkpoint in one line; nothing of it is left."""
    run = config(tmp_path, name="run", parallel="fsdp", max_steps=500, eval_every=2, eval_texts=2)
    gate.error = OSError(errno.ENOSPC, "No space left on device")
    gate.opened.set()
    with pytest.raises(OSError) as error:
        train(run)
    file = run.training.folder / "step-0000002/trainer/__0_0.distcp"
    assert str(error.value) == (
        f"{file} could not be written: no space left on device; make room on that disk. No checkpoint was saved yet"
    )
    assert max(logged(run.training.folder)) < 100
    assert not list(run.training.folder.glob("*step-*"))


def test_a_second_try_that_succeeds_is_kept(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends by a failed write of something else has saved its last step."""
    run = sharded(tmp_path, max_steps=3, eval_every=100)
    gate.opened.set()

    def full(logger: Logger, step: int, *words: object) -> None:
        from sunfish.disk.writing import WriteError

        if step == 2:
            raise WriteError(logger.folder, errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Logger, "metrics", full)
    with pytest.raises(OSError, match="no space left"):
        run.run()
    assert read_metadata(tmp_path / "ck/run" / LAST)["step"] == 2


def test_a_run_ends_with_it_whole(tmp_path: Path) -> None:
    """It is the last one, the best one is known, and milestones keep what inference needs."""
    run = config(tmp_path, name="run", parallel="fsdp", max_steps=6, eval_every=2, eval_texts=2)
    folder = train(run)
    assert folder == (run.training.folder / LAST).resolve() and folder.name == "step-0000006"
    assert load_checkpoint(run.training.folder / BEST).step in (2, 4, 6)
    assert load_checkpoint(folder.with_name("step-0000004")).step == 4
    pruned = [path for path in run.training.folder.glob("step-*") if not (path / "trainer").exists()]
    assert pruned
    with pytest.raises(ValueError, match="can be sampled but not resumed"):
        load_trainer(pruned[0])
    longer = run.with_fields(max_steps=7)
    assert train(longer, folder).name == "step-0000007"


@pytest.mark.slow
def test_a_nan_returns_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the weights and moments of before the first step, which the steps since have changed."""
    bad = derive_seed("step", 0, 4)

    def loss(*words: Any) -> Any:
        losses = training_loss(*words)
        return losses._replace(total=losses.total * (float("nan") if words[3].initial_seed() == bad else 1))

    monkeypatch.setattr("sunfish.training.run_state.training_loss", loss)
    fields: dict[str, Any] = {"max_steps": 7, "eval_texts": 2, "on_nan": "rollback"}
    run = config(tmp_path, name="run", parallel="fsdp", **fields)
    train(run)
    other = Trainer(config(tmp_path, name="other", **fields))
    other.step = 5
    while other.step < 7:
        other.train_step()
    left = dict(named_tensors(load_trainer(run.training.folder / LAST)))
    for name, value in tensors(other.state()).items():
        torch.testing.assert_close(left[name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_it_is_exported_as_that_of_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = sharded(tmp_path)
    run.train_step()
    folder, copy = run.save(), tmp_path / "copy"
    run.settle()
    settings = write_generation_config(folder, {"best": GenerationConfig(temperature=0.5)})
    assert main(["export", str(folder), str(copy), "--resumable"]) == 0
    out, log = capsys.readouterr()
    assert out == f"{copy}\n" and f"sunfish train --resume {copy}" in log
    assert set(read_metadata(copy)["files"]) == set(OTHERS)
    assert same(load_trainer(copy), load_trainer(folder))
    assert not any(value.is_meta for _, value in named_tensors(read_trainer(copy)))
    for name in ("README.md", "model.safetensors", "tokenizer.json", settings.name):
        assert (copy / name).read_bytes() == (folder / name).read_bytes(), name
    assert main(["export", str(folder), str(copy), "--resumable"]) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_a_changed_file_is_found_when_it_is_resumed(tmp_path: Path) -> None:
    run = sharded(tmp_path)
    folder = run.save()
    run.settle()
    file = folder / SHARDS[1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for read in (load_trainer, lambda path: Trainer(config(tmp_path, name="other"), path)):
        with pytest.raises(ValueError, match=r"__0_0\.distcp is missing or damaged \(its hash differs\)"):
            read(folder)
    state, place = read_trainer(folder), dict(named_tensors(run.state()))
    with pytest.raises(
        ValueError, match="its hash differs"
    ):  # of two processes, each compares one of two files
        fill_shards(folder, state, place, rank=1, size=2)
    (folder / SHARDS[0]).write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.metadata is missing or damaged \(its hash differs\)"):
        fill_shards(folder, state, place, rank=0, size=2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_torchrun_starts_a_run_again_whose_process_was_killed(tmp_path: Path) -> None:
    """With the command of the first start; the losses are those of a run in one process that nothing happened to."""
    run = run_of(tmp_path, "run", parallel="fsdp", max_steps=24, eval_every=8)
    train(run.with_fields(name="alone", parallel="ddp"))
    command = [*TORCHRUN, "2", "--max-restarts", "1", "-m", "sunfish", *words_of(run, "--resume", "auto")]
    pipe, moment = subprocess.PIPE, random.randrange(9, 14)
    started = subprocess.Popen([sys.executable, *command], stdout=pipe, stderr=pipe, text=True)
    last = run.training.folder / LAST
    wait_for(lambda: last.exists() and len(logged(run.training.folder)) > moment, 300)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    out, log = started.communicate(timeout=300)
    assert started.returncode == 0, log
    assert out == f"{run.training.folder / 'step-0000024'}\n"
    assert "from step 8" in log or "from step 16" in log
    alone = logged(run.training.folder.with_name("alone"))
    assert logged(run.training.folder) == {
        step: pytest.approx(loss, abs=1e-5) for step, loss in alone.items()
    }
    files = read_metadata(last)["files"]
    assert {name for name in files if name not in OTHERS} == {*SHARDS, "trainer/__1_0.distcp"}
