"""The batch loader: batches follow from (seed, step), rows come once an epoch, ranks share a batch."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from sunfish.config.presets import preset
from sunfish.data.dataloader import BatchLoader
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.stories import StoriesSource
from sunfish.utils import UsageError
from tests.data.corpora import quiet

END, CONTEXT = 0, 60


class Split:
    """A split in memory. The first token of each row is its number, so that batches can be traced back."""

    context_length, prompt_length = CONTEXT, 13
    one_text = False

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(count)
        self.lengths = rng.integers(3, CONTEXT + 1, count)
        self.prompt_lengths = rng.integers(1, 14, count)
        self.bytes = self.lengths.astype(np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, i: int, shift: int = 0) -> np.ndarray:
        return np.array([END, i + 1, *[7] * (self.lengths[i] - 3), END], np.int64)

    def prompt(self, i: int) -> np.ndarray:
        return np.full(self.prompt_lengths[i], i + 1, np.int64)


def numbers(batch) -> list[int]:
    return (batch.x0[:, 1] - 1).tolist()


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True)) and a.share == b.share


def test_tensors_have_their_shapes_and_padding() -> None:
    split = Split(100)
    batch = BatchLoader(split, 8, END, seed=0).batch(3)
    assert all(t.dtype == torch.int64 for t in batch[:3]) and batch.prompt_mask.dtype == torch.bool
    assert batch.x0.shape[1] == max(batch.widths) and len(batch.widths) == 8
    assert all(length <= width <= CONTEXT for length, width in zip(batch.lengths, batch.widths, strict=True))
    assert batch.prompt.shape == batch.prompt_mask.shape and batch.prompt.shape[1] == 13
    for i, row, length, prompt, mask in zip(numbers(batch), *batch[:4], strict=True):
        assert row[:length].tolist() == split.row(i).tolist() and (row[length:] == END).all()
        assert prompt[mask].tolist() == split.prompt(i).tolist()
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)


def test_rows_are_never_wider_than_the_context() -> None:
    split = Split(64)
    split.lengths[:] = CONTEXT  # 60 is no multiple of 8
    assert BatchLoader(split, 8, END, seed=0).batch(0).x0.shape == (8, CONTEXT)


@pytest.mark.parametrize(("most", "width"), [(9, 9), (20, 16), (64, 16)])
def test_prompts_are_never_wider_than_the_model_takes(most: int, width: int) -> None:
    split = Split(64)
    split.prompt_length = most
    split.prompt_lengths[:] = 9
    batch = BatchLoader(split, 8, END, seed=0).batch(0)
    assert batch.prompt.shape == (8, width) and batch.prompt_mask.sum(dim=1).tolist() == [9] * 8


@pytest.mark.parametrize("step", [0, 1, 31, 32, 500])
def test_a_fresh_loader_resumes_with_the_same_batch(step: int) -> None:
    split = Split(700)
    used = BatchLoader(split, 16, END, seed=5)
    for earlier in (step + 1, 0, step // 2):
        used.batch(earlier)
    assert same(used.batch(step), BatchLoader(split, 16, END, seed=5).batch(step))


def test_seeds_and_epochs_have_their_own_orders() -> None:
    split = Split(256)
    seed_1, seed_2 = BatchLoader(split, 8, END, seed=1), BatchLoader(split, 8, END, seed=2)
    first = [numbers(seed_1.batch(s)) for s in range(32)]
    assert first != [numbers(seed_2.batch(s)) for s in range(32)]
    assert first != [numbers(seed_1.batch(s)) for s in range(32, 64)]


def test_each_epoch_is_shuffled_anew() -> None:
    batches = BatchLoader(Split(1024), 8, END, seed=1)  # four windows an epoch
    begin = [{i for s in range(first, first + 32) for i in numbers(batches.batch(s))} for first in (0, 128)]
    assert len(begin[0]) == len(begin[1]) == 256 and begin[0] != begin[1]


@pytest.mark.parametrize("count, batch_size", [(256, 8), (252, 8), (240, 7), (33, 32), (32, 32), (5, 1)])
def test_every_row_occurs_equally_often(count: int, batch_size: int) -> None:
    batches = BatchLoader(Split(count), batch_size, END, seed=0)
    seen: Counter[int] = Counter()
    rows = math.lcm(batches.window_batches * batch_size, count)  # whole epochs and whole windows
    for step in range(rows // batch_size):
        seen.update(numbers(batches.batch(step)))
        if (step + 1) % batches.window_batches == 0:
            rarest = min(seen[i] for i in range(count))
            assert max(seen.values()) - rarest <= 1, "at the end of a window no row is two turns ahead"
    assert set(seen.values()) == {rows // count} and len(seen) == count


def test_one_epoch_shows_every_document_once() -> None:
    batches = BatchLoader(Split(320), 10, END, seed=0)
    assert sorted(i for s in range(32) for i in numbers(batches.batch(s))) == list(range(320))
    assert batches.epoch(0) == 0 and batches.epoch(32) == 1 and batches.epoch(48) == 1.5


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_out_the_global_batch(world_size: int) -> None:
    split = Split(600)
    alone = BatchLoader(split, 6 * world_size, END, seed=4)
    ranks = [BatchLoader(split, 6, END, seed=4, rank=r, world_size=world_size) for r in range(world_size)]
    for step in (0, 3, 40):
        parts = [rank.batch(step) for rank in ranks]
        assert Counter(i for p in parts for i in numbers(p)) == Counter(numbers(alone.batch(step)))
        assert len({p.x0.shape for p in parts}) == 1
    assert ranks[0].epoch(7) == alone.epoch(7)


@pytest.mark.parametrize(
    "limit, batch_size, rows",
    [
        (0, 16, range(100)),
        (50, 16, range(0, 100, 2)),
        (100, 7, range(100)),
        (3, 16, [0, 33, 66]),
        (1000, 33, range(100)),
    ],
)
def test_in_order_gives_rows_at_even_distances_once(limit: int, batch_size: int, rows: Iterable[int]) -> None:
    loader = BatchLoader(Split(100), 16, END, seed=0)
    batches = list(loader.in_order(limit, batch_size))
    assert sorted(i for b in batches for i in numbers(b)) == list(rows) == loader.spread_rows(limit).tolist()
    widths = [b.x0.shape[1] for b in batches]
    assert widths == sorted(widths)


def test_a_corpus_smaller_than_a_batch_names_the_remedy() -> None:
    batches = BatchLoader(Split(20), 16, END, seed=0, world_size=2)
    with pytest.raises(ValueError, match=r"20 rows.*32 \(16 x 2 ranks\).*--batch_size"):
        batches.batch(0)
    assert sum(len(b.x0) for b in batches.in_order(0, 16)) == 20  # evaluation needs no full batch


def test_wrong_arguments_are_errors() -> None:
    with pytest.raises(UsageError, match="batch_size is 0"):
        BatchLoader(Split(20), 0, END, seed=0)
    with pytest.raises(ValueError, match="rank is 2 of world_size 2"):
        BatchLoader(Split(20), 1, END, seed=0, rank=2, world_size=2)
    with pytest.raises(ValueError, match="step is -1"):
        BatchLoader(Split(20), 1, END, seed=0).batch(-1)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [16, 32])
def test_stories_have_little_padding(tmp_path_factory: pytest.TempPathFactory, batch_size: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "stories"
    config = preset("nano", data_folder=str(folder))
    source = StoriesSource(seed=0, train_count=1500, validation_count=100)
    prepared = prepare(source, config, quiet, workers=1)
    batches = BatchLoader(prepared.split("train"), batch_size, prepared.tokenizer.end, seed=0)
    steps = 2 * 1500 // batch_size
    measured = [batches.batch(s) for s in range(steps)]
    processed = sum(b.positions for b in measured)
    share = 1 - sum(int(b.lengths.sum()) for b in measured) / processed
    assert share <= 0.05
    assert batches.padding(steps) == pytest.approx(share)


def test_a_batch_costs_little() -> None:
    batches = BatchLoader(Split(5000), 32, END, seed=0)
    times = []
    for step in range(100):
        begin = time.process_time()
        batches.batch(step)
        times.append(time.process_time() - begin)
    assert sorted(times)[50] < 0.005  # seconds; 0.3 ms is usual


def test_wrong_prompts_belong_to_other_rows_also_across_batches() -> None:
    split = Split(21)
    batches = BatchLoader(split, 4, END, seed=0)
    for size in (1, 4):
        pairs = zip(batches.in_order(0, size), batches.in_order(0, size, wrong_prompts=True), strict=True)
        for right, wrong in pairs:
            assert torch.equal(right.x0, wrong.x0) and torch.equal(right.lengths, wrong.lengths)
            # The prompts of this split are the number of their row.
            assert not set((right.prompt[:, 0] - wrong.prompt[:, 0]).tolist()) & {0}


def test_wrong_prompts_differ_where_rows_share_prompts() -> None:
    class TwoPrompts(Split):
        def prompt(self, i: int) -> np.ndarray:
            return np.array([1 + i % 2])

    batches = BatchLoader(TwoPrompts(10), 3, END, seed=0)
    for right, wrong in zip(batches.in_order(0, 3), batches.in_order(0, 3, wrong_prompts=True), strict=True):
        assert (right.prompt[:, 0] + wrong.prompt[:, 0] == 3).all()


def test_wrong_prompts_are_the_rows_own_where_there_is_no_other() -> None:
    class OnePrompt(Split):
        def prompt(self, i: int) -> np.ndarray:
            return np.array([5])

    (batch,) = BatchLoader(OnePrompt(3), 3, END, seed=0).in_order(0, 3, wrong_prompts=True)
    assert (batch.prompt[:, 0] == 5).all()
