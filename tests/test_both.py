"""Reading and canvas in one pass: the same numbers and gradients as in two, for every process and block length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask

from sunfish.config import ModelConfig, ProcessConfig
from sunfish.config.presets import preset
from sunfish.model.side_by_side import parts_of, tiled_mask
from sunfish.processes import PROCESSES, build_process
from sunfish.rng import Streams, generator_of
from sunfish.training.loss import block_times, exact_counts, losses_at, with_complement
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


@pytest.mark.parametrize("block", [1, 5, 16, 0])
def test_two_canvases_of_a_text_do_not_see_each_other(block: int) -> None:
    m, b = model(), batch()
    cond = m.encode(b.prompt, b.prompt_mask)
    t = block_times(b, block, 0.2, 0.8, generator_of("t"))
    noise, t = with_complement(*exact_counts(t, block, generator_of("counts")))
    mask = m.config.vocab_size
    x_t = b.x0.repeat(1, 2).masked_fill(noise > 0, mask)
    read, drawn = m.both(b.x0, x_t, t, cond, block)
    for one, time, found in zip(x_t.chunk(2, 1), t.chunk(2, 1), drawn.chunk(2, 1), strict=True):
        expected = m.both(b.x0, one, time, cond, block)
        torch.testing.assert_close((read, found), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("block", [1, 3, 5, 0])
def test_the_complement_masks_the_others_and_both_count_alike(block: int) -> None:
    b = batch()
    chosen, share = exact_counts(
        block_times(b, block, 0.2, 0.8, generator_of("t")), block, generator_of("counts")
    )
    noise, t = with_complement(chosen, share)
    first, second = noise.chunk(2, 1)
    assert torch.equal(first, chosen) and torch.equal(t.chunk(2, 1)[0], share)
    # Every unknown position once, the known one never.
    assert torch.equal(first + second, (share > 0).to(first.dtype))
    # Masked tokens count 1 / share, so that a block counts as much as it has unknown tokens, whatever was drawn.
    size = block or b.x0.shape[1]
    for canvas, own in zip((first, second), t.chunk(2, 1), strict=True):
        weight = torch.where(canvas > 0, 1 / own, torch.zeros_like(own))
        for masked, counted, unknown in zip(
            *(part.split(size, 1) for part in (canvas, weight, share > 0)), strict=True
        ):
            expected = torch.where(masked.sum(1) > 0, unknown.sum(1), 0).to(counted.dtype)
            torch.testing.assert_close(counted.sum(1), expected)


def test_the_loss_of_two_canvases_is_their_mean() -> None:
    m, b, process = model(), batch(), build_process(ProcessConfig())
    cond = m.encode(b.prompt, b.prompt_mask)
    chosen, share = exact_counts(block_times(b, 4, 0.2, 0.8, generator_of("t")), 4, generator_of("counts"))
    noise, t = with_complement(chosen, share)
    x_t = b.x0.repeat(1, 2).masked_fill(noise > 0, m.config.vocab_size)
    together = losses_at(m, process, b, cond, x_t, t, 4, 0.5)
    apart = [
        losses_at(m, process, b, cond, x, time, 4, 0.5)
        for x, time in zip(x_t.chunk(2, 1), t.chunk(2, 1), strict=True)
    ]
    assert float(together.canvas) == pytest.approx(sum(float(one.canvas) for one in apart) / 2, rel=1e-6)
    assert float(together.next_token) == pytest.approx(float(apart[0].next_token), rel=1e-6)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (dict(process="uniform"), "exact_count is off"),
        (dict(next_token_weight=0.0), "next_token_weight is 0"),
        (dict(n_decoder_layer=1), "n_decoder_layer is 1"),
    ],
)
def test_where_texts_cannot_be_denoised_twice(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        preset("tiny", complementary=True, **changed)


def visible_pairs(length: int, block: int, canvases: int) -> torch.Tensor:
    """Who sees whom, pair by pair, ``[(1 + C) N, (1 + C) N]``."""
    size = (1 + canvases) * length
    sees = torch.zeros(size, size, dtype=torch.bool)
    for query in range(size):
        for key in range(size):
            at, to = query % length, key % length
            if query < length:
                sees[query, key] = key <= query
            elif key < length:
                sees[query, key] = block > 0 and to // block < at // block
            else:
                same = block == 0 or to // block == at // block
                sees[query, key] = same and key // length == query // length
    return sees


@pytest.mark.parametrize("canvases", [1, 2])
@pytest.mark.parametrize("block", [0, 1, 3, 4, 99])
@pytest.mark.parametrize("length", [5, 16, 22])
def test_parts_and_tiles_show_what_is_visible(length: int, block: int, canvases: int) -> None:
    expected = visible_pairs(length, block, canvases)
    size, device = len(expected), torch.device("cpu")
    shown, done = torch.zeros_like(expected), []
    for rows, seen, mask in parts_of(length, canvases, block, device):
        columns = [key for one in seen for key in range(one.start, one.stop)]
        assert len(set(columns)) == len(columns)
        shown[rows, columns] = True if mask is None else mask
        done += range(rows.start, rows.stop)
    assert done == list(range(size)) and torch.equal(shown, expected)
    tiles = tiled_mask(length, canvases, block, device)
    shown = create_mask(tiles.mask_mod, None, None, size, size, device="cpu")[0, 0]
    assert torch.equal(shown, expected)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("block", [0, 3, 4])
@pytest.mark.parametrize("complementary", [False, True])
@torch.no_grad()
def test_tiled_attention_is_attention(block: int, complementary: bool) -> None:
    """The pass of training with tiles, which a GPU takes, beside the pass with masks."""
    m, b = model(), batch()
    canvases = 2 if complementary else 1
    x = torch.randint(0, CONFIG.vocab_size + 1, (3, canvases * 16), generator=generator_of("x"))
    args = (b.x0, x, torch.ones(x.shape), m.encode(b.prompt, b.prompt_mask), block)
    whole = m.both(*args)
    m.tiled = True
    for one, other in zip(whole, m.both(*args), strict=True):
        torch.testing.assert_close(other, one, atol=1e-10, rtol=0)
        assert not torch.equal(other, one)  # another kernel: the tiles were used
