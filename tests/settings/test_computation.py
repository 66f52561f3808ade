"""What a run computes with: device, threads, number format, layers computed twice or compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import sunfish.training.run_state as run_state
from sunfish.config import Config, TrainingConfig
from sunfish.model.transformer import Transformer
from sunfish.training.sharding import is_sharded
from sunfish.training.trainer import Trainer
from tests.settings.table import covers, spy

Make = Callable[..., Trainer]
Settings = Callable[..., Config]
Patch = pytest.MonkeyPatch


@covers(TrainingConfig, "device")
def test_device_of_a_run(make: Make, monkeypatch: Patch) -> None:
    with pytest.raises(ValueError, match="device is 'cuda:99', but"):
        make(device="cuda:99")
    chosen = spy(monkeypatch, run_state, "choose_device")
    assert make(device="cpu").device == torch.device("cpu") and chosen[0]["name"] == "cpu"


@covers(TrainingConfig, "threads")
def test_threads_of_a_run(make: Make) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            trainer = make(threads=threads)
            assert (trainer.threads, torch.get_num_threads()) == (threads, threads)
            assert trainer.environment["threads"] == threads
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def types(monkeypatch: Patch) -> Iterator[list[torch.dtype]]:
    """The number formats that hidden states have as they leave the network."""
    seen: list[torch.dtype] = []
    forward = Transformer.forward

    def noted(self: Transformer, *arguments: Any) -> Any:
        hidden, pairs = forward(self, *arguments)
        seen.append(hidden.dtype)
        return hidden, pairs

    monkeypatch.setattr(Transformer, "forward", noted)
    yield seen


@covers(TrainingConfig, "precision")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_number_format_of_each_pass(make: Make, types: list[torch.dtype], precision: str) -> None:
    """In training, in validation and in samples; the weights stay in float32."""
    trainer, expected = make(precision=precision), getattr(torch, precision)
    for action in (trainer.train_step, trainer.validate, trainer.sample):
        types.clear()
        action()
        assert set(types) == {expected}
    assert trainer.training_step.optimizers[0].dtype == expected  # type: ignore[attr-defined]
    assert trainer.environment["precision"] == precision
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


@covers(TrainingConfig, "activation_checkpointing")
def test_layers_that_are_computed_twice(make: Make) -> None:
    passes, gradients = {}, {}
    for recompute in (False, True):
        trainer, count = make(activation_checkpointing=recompute), [0]
        trainer.model.blocks[0].register_forward_pre_hook(lambda *_, count=count: count.append(1))
        losses = trainer.training_step.loss(trainer.batches.batch(0), torch.Generator().manual_seed(0), 0)
        losses.total.backward()
        passes[recompute] = sum(count)
        gradients[recompute] = trainer.model.token_embedding.grad
    assert passes == {False: 1, True: 2}
    torch.testing.assert_close(gradients[True], gradients[False])


@covers(TrainingConfig, "compile")
def test_layers_that_are_compiled(make: Make, monkeypatch: Patch) -> None:
    required = spy(monkeypatch, run_state, "require_compiler")
    compiled: list[Transformer] = []
    monkeypatch.setattr(Transformer, "compile_blocks", lambda self: compiled.append(self))
    trainer = make(compile=True)
    assert compiled == [trainer.model] and len(required) == 1
    make()
    assert len(compiled) == len(required) == 1


@covers(TrainingConfig, "parallel")
def test_what_a_process_holds(make: Make) -> None:
    """A part of each weight by fsdp, where a process without others holds all rows of its part."""
    try:
        for parallel in ("ddp", "fsdp"):
            model = make(parallel=parallel).model
            assert {is_sharded(weight) for weight in model.parameters()} == {parallel == "fsdp"}
    finally:
        torch.distributed.destroy_process_group()
