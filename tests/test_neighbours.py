"""What stands beside a token: against loops over positions, at the borders of blocks, memory and text."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from sunfish.checkpoint.folder import read_about
from sunfish.config import Config
from sunfish.model.neighbours import Neighbours, edge_of
from sunfish.rng import generator_of
from tests.conftest import Workplace
from tests.helpers import CONFIG, batch, model

D = CONFIG.n_embd


def part() -> Neighbours:
    built = Neighbours(CONFIG).double()
    with torch.no_grad():
        for name, gain in built.named_parameters():
            gain.normal_(generator=generator_of(name))
    return built


def gains(of_heads: torch.Tensor) -> torch.Tensor:
    return of_heads.flatten().repeat_interleave(D // CONFIG.n_head)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator_of("drawn", *shape))


@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_a_stretch_is_what_its_formula_says(width: int, both_sides: bool) -> None:
    beside, tokens, edge = part(), drawn(3, width, D), drawn(3, D)
    found = beside(tokens, edge, both_sides)
    for n in range(width):
        expected = gains(beside.before_gain) * (tokens[:, n - 1] if n else edge)
        if both_sides and n + 1 < width:
            expected = expected + gains(beside.behind_gain) * tokens[:, n + 1]
        torch.testing.assert_close(found[:, n], expected)


@pytest.mark.parametrize(("start", "block"), [(0, 1), (0, 4), (0, 5), (0, 9), (3, 4), (8, 2)])
def test_blocks_do_not_see_beyond_themselves_but_for_the_text_in_front(start: int, block: int) -> None:
    beside, tokens, clean = part(), drawn(2, 9, D), drawn(2, 10, D)
    found = beside.in_blocks(tokens, clean, start, block)
    for n in range(9):
        before = torch.zeros(2, D, dtype=torch.float64)
        if n % block:
            before = tokens[:, n - 1]
        elif 0 < start + n <= 10:  # the text in front of the block, where there is some
            before = clean[:, start + n - 1]
        expected = gains(beside.before_gain) * before
        if (n + 1) % block and n + 1 < 9:
            expected = expected + gains(beside.behind_gain) * tokens[:, n + 1]
        torch.testing.assert_close(found[:, n], expected)


def test_the_edge_is_the_remembered_token() -> None:
    m, b = model(), batch()
    past, _ = m.read(b.x0, m.encode(b.prompt, b.prompt_mask))
    like = drawn(3, 2, D)
    unit = torch.nn.functional.normalize(m.table[b.x0], dim=-1) * D**0.5
    torch.testing.assert_close(edge_of(past, 7, like), unit[:, 6])
    ragged = edge_of(past, torch.tensor([4, 0, 16]), like)
    torch.testing.assert_close(ragged, torch.stack([unit[0, 3], torch.zeros_like(unit[0, 0]), unit[2, 15]]))
    assert not edge_of(past, 0, like).any() and not edge_of(None, 0, like).any()


@pytest.mark.parametrize("canvas", [False, True])
def test_only_what_may_be_seen_changes_a_position(canvas: bool) -> None:
    """Through a network whose attention is off: reading sees one token back, the canvas one to either side."""
    m, b = model(), batch()
    with torch.no_grad():
        for name, parameter in m.named_parameters():
            if name.endswith(("output.weight", "down.weight")) or name == "pointer.gain":
                parameter.zero_()
    cond = m.encode(b.prompt, b.prompt_mask)
    other = b.x0.clone()
    other[:, 8] = (other[:, 8] + 1) % CONFIG.vocab_size
    t = torch.zeros(b.x0.shape)

    def states(ids: torch.Tensor) -> torch.Tensor:
        return m.canvas(ids, t, cond) if canvas else m.read(ids, cond)[1]

    changed = (states(b.x0) != states(other)).any(-1)
    assert changed[0].nonzero().flatten().tolist() == ([7, 8, 9] if canvas else [8, 9])


def test_models_of_before_have_none(trained: Workplace, tmp_path_factory: pytest.TempPathFactory) -> None:
    about = json.loads((trained.checkpoint / "config.json").read_text())
    del about["config"]["model"]["neighbours"], about["config"]["training"]["read_first"]
    older = tmp_path_factory.mktemp("older")
    (older / "config.json").write_text(json.dumps(about))
    read = read_about(older)["config"]
    assert read["model"]["neighbours"] is False and Config.from_dict(read).training.read_first == 0.0
    without = model(config=replace(CONFIG, neighbours=False))
    assert without.neighbours is None
    cond = without.encode(*(part[:1] for part in (batch().prompt, batch().prompt_mask)))
    past, hidden = without.read(batch().x0[:1], cond)
    assert past.shape[4] == 16 and hidden.isfinite().all()
