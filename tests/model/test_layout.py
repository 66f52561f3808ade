"""Layouts against brute force: who sees whom, where positions stand, which tokens are neighbors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask

from sunfish.model.layout import AttentionMask, Layout, merge_slices, prepend_keys
from sunfish.rng import make_generator

CPU = torch.device("cpu")


class Place(NamedTuple):
    """One position of a pass, as a reader of the definition would put it down."""

    canvas: int | None  # number of its canvas; None: text
    index: int  # within the text of the pass, or within its canvas
    position: int  # in the whole text
    block: int | None = None  # within its canvas


def dense(mask: AttentionMask, rows: int, queries: int, keys: int) -> Tensor:
    """A mask of any kind as ``[rows, queries, keys]``."""
    if mask is None:
        return torch.ones(rows, queries, keys, dtype=torch.bool)
    if isinstance(mask, Tensor):
        return mask.expand(rows, 1, queries, keys)[:, 0]
    assert isinstance(mask, tuple)
    matrix, covered = torch.zeros(rows, queries, keys, dtype=torch.bool), []
    for segment in mask:
        columns = [key for part in segment.keys for key in range(part.start, part.stop)]
        assert len(set(columns)) == len(columns)
        size = segment.queries.stop - segment.queries.start
        visible = torch.tensor(True) if segment.mask is None else segment.mask
        matrix[:, segment.queries, columns] = visible.expand(rows, 1, size, len(columns))[:, 0]
        covered += range(segment.queries.start, segment.queries.stop)
    assert covered == list(range(queries))  # every query once, in order
    return matrix


def mask_of(layout: Layout, rows: int, size: int) -> Tensor:
    """The mask of a layout as ``[rows, N, C + N]``."""
    return dense(layout.mask, rows, size, layout.cached + size)


def brute_force(
    places: list[Place], starts: list[int], cached: int, visible: Callable[[Place, Place], bool]
) -> Tensor:
    """``[B, N, C + N]``: the cache before the start of each row, and ``visible`` within the pass."""
    rows = [
        [[key < start for key in range(cached)] + [visible(query, key) for key in places] for query in places]
        for start in starts
    ]
    return torch.tensor(rows, dtype=torch.bool)


def positions(layout: Layout, size: int) -> list[list[int]]:
    """The positions of each row."""
    if isinstance(layout.position, slice):
        return [list(range(layout.position.start, layout.position.stop))]
    place = layout.position if layout.position.ndim == 2 else layout.position[None]
    assert place.shape[1] == size
    return place.tolist()


STARTS = pytest.mark.parametrize("start", [0, 3, torch.tensor([4, 0, 2])], ids=["begin", "cache", "ragged"])


def starts_of(start: int | Tensor) -> tuple[list[int], int]:
    """The start of each row, and how long the cache is."""
    starts = start.tolist() if isinstance(start, Tensor) else [start]
    return starts, max(starts)


@STARTS
@pytest.mark.parametrize("length", [1, 4])
def test_causal(length: int, start: int | Tensor) -> None:
    starts, cached = starts_of(start)
    layout = Layout.causal(length, start, cached, CPU)
    text = [Place(None, n, n) for n in range(length)]
    expected = brute_force(text, starts, cached, lambda query, key: key.index <= query.index)
    assert torch.equal(mask_of(layout, len(starts), length), expected)
    assert positions(layout, length) == [[begin + n for n in range(length)] for begin in starts]
    assert (layout.num_causal, layout.canvas_length) == (length, 0)


@STARTS
@pytest.mark.parametrize("length", [1, 4])
def test_canvas(length: int, start: int | Tensor) -> None:
    starts, cached = starts_of(start)
    layout = Layout.canvas(length, start, cached, CPU)
    canvas = [Place(0, n, n) for n in range(length)]
    assert torch.equal(
        mask_of(layout, len(starts), length), brute_force(canvas, starts, cached, lambda query, key: True)
    )
    assert positions(layout, length) == [[begin + n for n in range(length)] for begin in starts]
    assert (layout.num_causal, layout.canvas_length, layout.block_length) == (0, length, length)


@STARTS
@pytest.mark.parametrize(("length", "width"), [(1, 1), (1, 3), (3, 1), (2, 2), (3, 4)])
def test_causal_and_drafts(length: int, width: int, start: int | Tensor) -> None:
    starts, cached = starts_of(start)
    layout = Layout.causal_and_drafts(length, width, start, cached, CPU)
    places = [Place(None, n, n) for n in range(length)]
    places += [Place(canvas, i, canvas + 1 + i) for canvas in range(length) for i in range(width)]

    def visible(query: Place, key: Place) -> bool:
        if key.canvas is None:  # a canvas sees what its token sees, and the token
            return key.index <= (query.index if query.canvas is None else query.canvas)
        return key.canvas == query.canvas

    assert torch.equal(
        mask_of(layout, len(starts), len(places)), brute_force(places, starts, cached, visible)
    )
    expected = [[begin + place.position for place in places] for begin in starts]
    assert positions(layout, len(places)) == expected
    assert (layout.num_causal, layout.canvas_length, layout.block_length) == (length, width, width)


def joint_places(length: int, canvases: int, block_length: int) -> list[Place]:
    """The positions of a joint pass."""
    text = [Place(None, n, n) for n in range(length)]
    return text + [Place(c, n, n, n // block_length) for c in range(canvases) for n in range(length)]


@pytest.mark.parametrize("canvases", [1, 2])
@pytest.mark.parametrize("block_length", [1, 3, 4, 22, 99])
@pytest.mark.parametrize("length", [5, 16, 22])
def test_joint(length: int, block_length: int, canvases: int) -> None:
    layout = Layout.joint(length, canvases, block_length, CPU, True)
    places = joint_places(length, canvases, block_length)

    def visible(query: Place, key: Place) -> bool:
        if query.canvas is None:
            return key.canvas is None and key.index <= query.index
        assert query.block is not None
        if key.canvas is None:
            return key.index < query.block * block_length
        return key.canvas == query.canvas and key.block == query.block

    expected = brute_force(places, [0], 0, visible)
    assert torch.equal(mask_of(layout, 1, len(places)), expected)
    assert positions(layout, len(places)) == [[place.position for place in places]]
    assert layout.tiles is not None
    tiles = create_mask(layout.tiles.mask_mod, None, None, len(places), len(places), device="cpu")
    assert torch.equal(tiles[0], expected)
    assert Layout.joint(length, canvases, block_length, CPU, False).tiles is None


@pytest.mark.parametrize("layout_of", ["canvas", "canvas, ragged", "joint", "causal_and_drafts"])
def test_without_self_hides_noise_from_itself_alone(layout_of: str) -> None:
    ragged = torch.tensor([4, 1])
    layout, count = {
        "canvas": (Layout.canvas(6, 3, 3, CPU), 6),
        "canvas, ragged": (Layout.canvas(6, ragged, 4, CPU), 6),
        "joint": (Layout.joint(6, 1, 4, CPU, True), 12),
        "causal_and_drafts": (Layout.causal_and_drafts(2, 3, ragged, 4, CPU), 8),
    }[layout_of]
    noise = torch.rand(2, count, generator=make_generator("noise")) < 0.5
    noise[:, : layout.num_causal] = False  # there is none in the text
    before = mask_of(layout, 2, count)
    hidden = layout.without_self(noise)
    expected = before.clone()
    for row, position in noise.nonzero().tolist():
        assert expected[row, position, layout.cached + position]
        expected[row, position, layout.cached + position] = False
    assert torch.equal(mask_of(hidden, 2, count), expected)
    assert hidden.tiles is None


@pytest.mark.parametrize("canvases", [1, 3])
@pytest.mark.parametrize("block_length", [1, 3, 4, 7])
def test_blocks_come_back_as_the_canvas(block_length: int, canvases: int) -> None:
    layout = Layout.joint(7, canvases, block_length, CPU, False)
    canvas = torch.randn(2, canvases * 7, 5, generator=make_generator("canvas"))
    blocks = layout.to_blocks(canvas)
    in_canvas = -(-7 // block_length)
    assert blocks.shape == (2, canvases * in_canvas, block_length, 5)
    for number in range(canvases):
        for place in range(7):
            block = blocks[:, number * in_canvas + place // block_length, place % block_length]
            assert torch.equal(block, canvas[:, number * 7 + place])
    assert int((blocks != 0).sum()) == canvas.numel()  # the padding is 0
    assert torch.equal(layout.from_blocks(blocks), canvas)


def test_a_block_knows_the_token_to_its_left() -> None:
    """As indices into the token before the pass, then the text of the pass."""
    before_and_text = torch.arange(8)

    def left(layout: Layout) -> list[int]:
        return before_and_text[: 1 + layout.num_causal][layout.block_left].tolist()

    assert left(Layout.canvas(3, 5, 5, CPU)) == [0]
    assert left(Layout.causal_and_drafts(4, 3, 5, 5, CPU)) == [1, 2, 3, 4]
    assert left(Layout.joint(7, 1, 3, CPU, False)) == [0, 3, 6]
    assert left(Layout.joint(7, 2, 3, CPU, False)) == [0, 3, 6, 0, 3, 6]
    assert left(Layout.joint(7, 2, 99, CPU, False)) == [0, 0]


def test_stretches_that_touch_become_one() -> None:
    assert merge_slices(slice(0, 2), slice(2, 5)) == (slice(0, 5),)
    assert merge_slices(slice(0, 2), slice(3, 5), slice(5, 6)) == (slice(0, 2), slice(3, 6))


@pytest.mark.parametrize("layout_of", ["canvas", "causal", "ragged", "joint"])
def test_prompt_keys_come_before_all_others(layout_of: str) -> None:
    """Masks of the copy head: every position sees the visible prompt, and only keys that hold a token."""
    layout, size = {
        "canvas": (Layout.canvas(4, 3, 3, CPU), 4),
        "causal": (Layout.causal(4, 3, 3, CPU), 4),
        "ragged": (Layout.causal(4, torch.tensor([3, 1]), 3, CPU), 4),
        "joint": (Layout.joint(4, 2, 2, CPU, False), 12),
    }[layout_of]
    prompt = torch.tensor([[True, True], [True, False]])
    text = torch.rand(2, layout.cached + size, generator=make_generator("text")) < 0.7
    within = mask_of(layout, 2, size) & text[:, None, :]
    expected = torch.cat([prompt[:, None].expand(-1, size, -1), within], dim=2)
    mask = prepend_keys(layout.mask, prompt[:, None, None], text)
    assert torch.equal(dense(mask, 2, size, 2 + layout.cached + size), expected)
