"""What a process holds beside its passes: counted in the tensors of a real run, sharded or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sunfish.config.presets import preset
from sunfish.model.transformer import count_parameters
from sunfish.training.rank_memory import (
    GPU_SHARE,
    HEAP_SHARE,
    RECOMPUTED_HEAP_SHARE,
    rank_memory,
    training_memory,
)
from sunfish.training.trainer import Trainer
from tests.runs import config as run_config

GPU = torch.device("cuda")


def test_the_state_is_that_of_a_run(tmp_path: Path) -> None:
    """Weights, their average and the optimizers' moments after a step of every matrix, in bytes."""
    config = run_config(tmp_path, n_embd=64)
    trainer = Trainer(config)
    for _ in range(4):  # each matrix has its turn
        trainer.train_step()
    state = [optimizer.state for optimizer in trainer.training_step.optimizers]
    moments = sum(
        tensor.nbytes
        for values in state
        for one in values.values()
        for tensor in one.values()
        if isinstance(tensor, torch.Tensor) and tensor.ndim
    )
    memory = rank_memory(config)
    assert memory.weights == sum(p.nbytes for p in trainer.model.parameters())
    assert memory.average == sum(p.nbytes for p in trainer.average.parameters())
    assert memory.optimizer == pytest.approx(moments, rel=0.05)  # without rows and the draft head


@pytest.mark.parametrize("name", ["nano", "full"])
def test_what_is_sharded_is_shared_out(name: str) -> None:
    """By eight processes, moments and gradients to an eighth; the whole average stays for validation."""
    config = preset(name, batch_size=64)
    whole, sharded = (
        rank_memory(config.with_fields(parallel=parallel), dtype=torch.bfloat16, device=GPU, processes=8)
        for parallel in ("ddp", "fsdp")
    )
    assert sharded.optimizer == pytest.approx(whole.optimizer / 8)
    assert sharded.average == pytest.approx(whole.average * (1 + 1 / 8))
    assert sharded.gradients == pytest.approx(GPU_SHARE * whole.gradients / 8)
    # At the very least its own shard, and what is in no block; at most all of it, with its gradients and the buffer.
    assert whole.weights / 8 < sharded.weights < 4 * whole.weights


def test_processes_and_parts_divide_the_passes() -> None:
    config = preset("small", batch_size=16)
    alone = rank_memory(config)
    for processes, parts in ((4, 1), (2, 2), (1, 4)):
        divided = rank_memory(config.with_fields(gradient_accumulation=parts), processes=processes)
        quarter = rank_memory(config.with_fields(batch_size=4))
        assert divided.step + divided.gradients == pytest.approx(quarter.step + quarter.gradients, rel=0.2)
        assert divided.step < alone.step / 3
        assert divided.gradients == 4 * count_parameters(
            config.model
        )  # they stay while the next part is computed


def test_the_total_is_the_sum_and_memory_of_one_process() -> None:
    config = preset("tiny")
    memory = rank_memory(config)
    assert memory.total == pytest.approx(
        memory.process + memory.weights + memory.average + memory.optimizer + memory.gradients + memory.step
    )
    assert training_memory(config) == memory.total


def test_the_heap_has_more_gaps_where_blocks_are_computed_again() -> None:
    """On a CPU; PyTorch's allocator on a GPU has the same share either way."""
    config = preset("small", n_layer=8)
    again = config.with_fields(activation_checkpointing=True)

    def passes(run: object, device: str) -> float:
        return rank_memory(run, dtype=torch.float32, device=torch.device(device)).step  # type: ignore[arg-type]

    gaps = RECOMPUTED_HEAP_SHARE[torch.float32] / HEAP_SHARE[torch.float32]
    on_cpu, on_gpu = (passes(again, device) / passes(config, device) for device in ("cpu", "cuda"))
    assert on_cpu / on_gpu == pytest.approx(gaps, rel=0.15)
