"""Reading and canvas in one pass: the same numbers and gradients as in two, for every process and block length."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sunfish.config import ModelConfig, ProcessConfig
from sunfish.model.masks import canvas_mask, causal_mask, joined_mask
from sunfish.objective import block_times
from sunfish.processes import PROCESSES, build_process
from sunfish.randomness import Streams, generator_of
from tests.helpers import CONFIG, batch, model


def config_of(name: str) -> ModelConfig:
    noisy = name != "masked"
    return replace(CONFIG, time_input=noisy, vector_input=name == "gaussian")


@pytest.mark.parametrize("prompts", [True, False])
@pytest.mark.parametrize("block", [1, 5, 16, 0])
@pytest.mark.parametrize("name", list(PROCESSES))
def test_one_pass_is_the_two(name: str, block: int, prompts: bool) -> None:
    config = config_of(name) if prompts else replace(config_of(name), prompt_length=0)
    m, b, process = model(config=config), batch(), build_process(ProcessConfig(process=name))
    mask = b.prompt_mask if prompts else torch.zeros_like(b.prompt_mask)
    t = block_times(b, block, 0.0, 1.0, generator_of("t")).double()
    with torch.no_grad():
        x_t = process.corrupt(b.x0, t, m.table, Streams([generator_of("x")]))

    def gradients(*hidden: torch.Tensor) -> list[torch.Tensor | None]:
        weights = [
            torch.randn(h.shape, generator=generator_of("weight", i), dtype=h.dtype)
            for i, h in enumerate(hidden)
        ]
        total = sum((h * w).sum() for h, w in zip(hidden, weights, strict=True))
        return list(torch.autograd.grad(total, list(m.parameters()), allow_unused=True))

    cond = m.encode(b.prompt, mask)
    past, read = m.read(b.x0, cond)
    whole = block == 0 or block >= b.x0.shape[1]
    drawn = m.canvas(x_t, t, cond, None if whole else past, 0, block)
    expected = gradients(read, drawn)
    cond = m.encode(b.prompt, mask)
    together = m.both(b.x0, x_t, t, cond, block)
    torch.testing.assert_close(together, (read, drawn), atol=1e-10, rtol=0)
    for one, two in zip(gradients(*together), expected, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-9)


def test_joined_mask_is_its_two_halves() -> None:
    reading, canvas = causal_mask(4, 0, torch.device("cpu")), canvas_mask(4, 4, 0, 2, torch.device("cpu"))
    assert reading is not None and canvas is not None
    joined = joined_mask(reading, canvas, 4)
    assert joined.shape == (8, 8)
    for query in range(8):
        for key in range(8):
            if query < 4:
                expected = key <= query
            elif key < 4:
                expected = key // 2 < (query - 4) // 2
            else:
                expected = key // 2 == query // 2
            assert bool(joined[query, key]) == expected
    alone = joined_mask(reading, None, 4)  # a canvas that is one block sees itself alone
    assert alone[4:, 4:].all() and not alone[4:, :4].any()
