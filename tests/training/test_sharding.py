"""Rows of weights: how many a process holds, and how whole matrices are moved, on a group of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from sunfish.training.optimizer import row_scale
from sunfish.training.sharding import is_sharded, local, rows_held, sharded_like, whole, whole_state
from sunfish.training.trainer import Trainer
from sunfish.utils import UsageError
from tests.runs import config


@pytest.fixture
def group() -> Iterator[None]:
    """A process group that is gone after the test; other tests are alone."""
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("rows", "size", "held"),
    [(8, 4, [2, 2, 2, 2]), (7, 3, [3, 3, 1]), (2, 4, [1, 1, 0, 0]), (5, 4, [2, 2, 1, 0])],
)
def test_rows_are_cut_as_torch_chunk_cuts_them(rows: int, size: int, held: list[int]) -> None:
    assert [rows_held(rows, rank, size) for rank in range(size)] == held
    chunks = [len(chunk) for chunk in torch.arange(rows).chunk(size)]
    assert held == chunks + [0] * (size - len(chunks))


def test_a_sharded_run_has_the_weights_of_a_whole_one(tmp_path: Path, group: None) -> None:
    """All of its weights and moments are sharded; whole, they are those of any run, whose checkpoint it resumes."""
    one = Trainer(config(tmp_path, name="one"))
    shards = Trainer(config(tmp_path, name="shards", parallel="fsdp"))
    for _ in range(4):
        one.train_step()
        shards.train_step()
    assert all(map(is_sharded, [*shards.model.parameters(), *shards.average.parameters()]))
    states = [
        v
        for o in shards.training_step.optimizers
        for s in o.state.values()
        for k, v in s.items()
        if k != "step"
    ]
    assert len(states) > 20 and all(map(is_sharded, states))
    for (name, weight), part in zip(one.model.named_parameters(), shards.model.parameters(), strict=True):
        torch.testing.assert_close(whole(part).detach(), weight.detach(), msg=name)
        assert torch.equal(sharded_like(weight.detach(), part).to_local(), weight.detach())
        assert local(weight) is weight
    saved, expected = whole_state(shards.state(), True), one.state()
    resumed = Trainer(config(tmp_path, name="one", parallel="fsdp"), one.save())
    assert torch.equal(whole(resumed.model.token_embedding), one.model.token_embedding)
    one.restore(saved, tmp_path)
    again = one.state()
    for state in (again, whole_state(resumed.state(), True)):
        for optimizer, other in zip(state["optimizers"], expected["optimizers"], strict=True):
            for number, moments in other["state"].items():
                for name, value in moments.items():
                    torch.testing.assert_close(optimizer["state"][number][name], value, msg=name)


def test_only_the_process_that_keeps_a_state_gets_it() -> None:
    state = {"step": 3, "weights": [torch.ones(2)]}
    assert whole_state(state, False) == {"step": 3, "weights": [None]}
    assert torch.equal(whole_state(state, True)["weights"][0], torch.ones(2))


def test_row_means_are_updated_where_they_are() -> None:
    """Rows of 3 and 4 in length: at first, both are scaled to one size, and the update keeps its norm."""
    means = torch.zeros(2)
    stack = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    scaled = stack * row_scale([means], stack)
    torch.testing.assert_close(means, torch.tensor([9.0, 16.0]) * 0.05)
    torch.testing.assert_close(scaled, torch.eye(2)[None] * 12.5**0.5)


def test_a_process_whose_noise_needs_all_embeddings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"parallel is fsdp, but process is gaussian, .*; use ddp"):
        Trainer(config(tmp_path, process="gaussian", parallel="fsdp"))
