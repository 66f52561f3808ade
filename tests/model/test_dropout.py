"""Dropout of residual branches: which share is dropped, what is left, and that it is for training only."""

from __future__ import annotations

import pytest
import torch

from sunfish.model.layers import Block, rotary_cos_sin
from tests.helpers import CONFIG, model, normal

LENGTH, RATE = 400, 0.25
BRANCHES = ["self_attention.out_proj", "cross_attention.out_proj", "feed_forward.down_proj"]


@pytest.mark.parametrize("branch", BRANCHES)
@torch.no_grad()
def test_a_share_of_each_branch_is_dropped_in_training_only(branch: str) -> None:
    """With the other two branches silent: 0 at the rate, else 1 / (1 - rate) of what it is otherwise."""
    network = model()
    network.set_dropout(RATE)
    block = network.blocks[0]
    assert isinstance(block, Block)
    for name in BRANCHES:
        if name != branch:
            block.get_submodule(name).weight.zero_()
    x, width = normal(2, LENGTH, CONFIG.n_embd, name="x"), CONFIG.n_embd // CONFIG.n_head
    keys, values = (normal(2, CONFIG.n_head, 3, width, name=name) for name in ("keys", "values"))
    prompt = (keys, values, torch.ones(2, 1, 1, 3, dtype=torch.bool))
    rotary = tuple(part.double() for part in rotary_cos_sin(LENGTH, width))
    whole = block(x, rotary, prompt)[0] - x
    torch.manual_seed(0)
    dropped = block.train()(x, rotary, prompt)[0] - x
    gone = dropped.abs() < 1e-12
    assert float(gone.double().mean()) == pytest.approx(RATE, abs=0.02)
    torch.testing.assert_close(dropped, whole.masked_fill(gone, 0.0) / (1 - RATE))
    torch.testing.assert_close(block.eval()(x, rotary, prompt)[0] - x, whole)
