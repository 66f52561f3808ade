"""Makes the batches of a prepared split; batch ``step`` is a pure function of (seed, step).

So resuming a run exactly needs one integer.

The examples form one endless sequence, epoch after epoch, each epoch in its own random order by (seed,
epoch) (``row_order.py``). That sequence is cut into windows of up to 32 batches. Inside a window the rows are sorted
by length and cut into batches of similar lengths, and the batches are shuffled. So a document occurs exactly once an
epoch, the remainder of an epoch shares its last batch with the beginning of the next one, and no row is
dropped. At most one position in 20 is padding (``padding.py``). One long text without prompts is cut into its
rows at another place in each epoch, so that a network that reads it many times does not meet each word at one
position only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sunfish.data.collate import collate
from sunfish.data.dataset import PreparedSplit
from sunfish.data.padding import Rows, equal_widths, padded_widths
from sunfish.data.row_order import rows_at
from sunfish.rng import Share
from sunfish.types import Batch
from sunfish.utils import UsageError

WINDOW_BATCHES = 32


class GlobalBatch(NamedTuple):
    """The rows of one step over all ranks, or of all steps of a window; one number a row each."""

    rows: Rows
    shifts: Rows  # how many tokens later than they are prepared the rows of one text begin
    widths: Rows  # how far they are padded


class BatchLoader:
    """The batches of one split. Calls change caches only."""

    def __init__(
        self,
        split: PreparedSplit,
        batch_size: int,
        end: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Nothing is read before a batch is asked for.

        Args:
            split: The rows.
            batch_size: Rows of a step on each rank.
            end: The end-of-text id, which pads short rows.
            seed: Of the order.
            rank: The number of this process.
            world_size: Number of processes that share each batch.

        Raises:
            UsageError: ``batch_size`` is below 1.
            ValueError: ``rank`` is not below ``world_size``.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, but it must be at least 1")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank} of world_size {world_size}; give 0 to world_size - 1")
        self.split, self.batch_size, self.end, self.seed = split, batch_size, end, seed
        self.rank, self.world_size = rank, world_size
        self.global_batch_size = batch_size * world_size
        # A window longer than an epoch would put copies of one document side by side in a batch.
        self.window_batches = max(1, min(WINDOW_BATCHES, len(split) // self.global_batch_size))
        self._window: tuple[int, GlobalBatch] | None = None  # the last window, and its number

    def batch(self, step: int) -> Batch:
        """One batch of this rank; the same in any loader with the same arguments.

        Args:
            step: The number of the batch, from 0.

        Returns:
            ``batch_size`` rows, padded as far as the widest of all ranks. Of each, ``widths`` says how much need be
            computed, so that there is little padding; the other positions are padding that nobody need see.

        Raises:
            ValueError: The split has fewer rows than one batch, or ``step`` is negative.
        """
        rows, shifts, widths = self._global_batch(step)
        of_rank, width = slice(self.rank, None, self.world_size), int(widths.max())
        batch = collate(self.split, self.end, width, rows[of_rank], shifts[of_rank])._replace(
            widths=tuple(widths.tolist())
        )
        if self.world_size == 1:
            return batch
        tokens = int((self.split.lengths[rows] - 1).sum())
        numbers = tuple(range(self.rank, self.global_batch_size, self.world_size))
        return batch._replace(share=Share(numbers, self.global_batch_size, width, tokens))

    def row_numbers(self, step: int) -> list[int]:
        """Which rows of the split make up batch ``step`` of this rank, for error messages."""
        rows = self._global_batch(step).rows
        return [int(row) for row in rows[self.rank :: self.world_size]]

    def epoch(self, step: int) -> float:
        """How many times the corpus was seen before ``step``."""
        return step * self.global_batch_size / len(self.split)

    def spread_rows(self, limit: int) -> Rows:
        """``limit`` rows at even distances, 0 or too many: all; the first ones of a sorted corpus have one label."""
        count = min(limit, len(self.split)) if limit else len(self.split)
        return np.arange(count) * len(self.split) // count

    def in_order(self, limit: int, batch_size: int, wrong_prompts: bool = False) -> Iterator[Batch]:
        """The rows of :meth:`spread_rows`, each exactly once, shortest first; for evaluation, on one rank.

        Texts are padded to multiples of 8, never more finely: a canvas also predicts the padding after its text, and
        its width tells where the text may end, so figures of other widths would not be comparable.

        Args:
            limit: Number of rows; 0: all.
            batch_size: Rows of a batch; the last one may have fewer.
            wrong_prompts: Whether each row has the prompt of another row, the next one whose prompt differs
                from its own. A row keeps its prompt only where all prompts are the same.
        """
        chosen = self.spread_rows(limit)
        order = chosen[np.argsort(self.split.lengths[chosen], kind="stable")]
        widths = equal_widths(self.split.lengths[order], batch_size, self.split.context_length)
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            prompts = (
                np.array([self._row_of_other_prompt(row, order) for row in rows]) if wrong_prompts else None
            )
            yield collate(self.split, self.end, int(widths[first]), rows, np.zeros_like(rows), prompts)

    def padding(self, steps: int) -> float:
        """Share of padded positions in the first ``steps`` global batches."""
        real = processed = 0
        for step in range(steps):
            rows, _, widths = self._global_batch(step)
            real += int(self.split.lengths[rows].sum())
            processed += int(widths.sum())
        return 1 - real / processed

    def _global_batch(self, step: int) -> GlobalBatch:
        """The rows of one step over all ranks."""
        if step < 0:
            raise ValueError(f"step is {step}, but it must not be negative")
        if len(self.split) < self.global_batch_size:
            raise ValueError(
                f"the corpus has {len(self.split)} rows, fewer than one batch of {self.global_batch_size} "
                f"({self.batch_size} x {self.world_size} ranks); use a smaller --batch_size or more text"
            )
        number, position = divmod(step, self.window_batches)
        if self._window is None or self._window[0] != number:
            self._window = (number, self._shuffled_window(number))
        return GlobalBatch(*(numbers[position] for numbers in self._window[1]))

    def _shuffled_window(self, number: int) -> GlobalBatch:
        """The rows of one window in shuffled batches, ``[window_batches, global_batch_size]``."""
        size = self.window_batches * self.global_batch_size
        epochs, positions = np.divmod(np.arange(number * size, (number + 1) * size), len(self.split))
        rows, shifts = np.empty((2, size), np.int64)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            rows[in_epoch] = rows_at(positions[in_epoch], len(self.split), self.seed, int(epoch))
            shifts[in_epoch] = self._shift(int(epoch))
        by_length = np.argsort(self.split.lengths[rows], kind="stable")
        rows, shifts = rows[by_length], shifts[by_length]
        widths = padded_widths(self.split.lengths[rows], self.global_batch_size, self.split.context_length)
        shape = (self.window_batches, self.global_batch_size)
        shuffled = np.random.default_rng([self.seed, 1, number]).permutation(self.window_batches)
        return GlobalBatch(*(numbers.reshape(shape)[shuffled] for numbers in (rows, shifts, widths)))

    def _shift(self, epoch: int) -> int:
        """How many tokens later than they are prepared the rows of one text begin."""
        if not self.split.one_text:
            return 0
        return int(np.random.default_rng([self.seed, 2, epoch]).integers(self.split.context_length - 1))

    def _row_of_other_prompt(self, row: int, order: Rows) -> int:
        """The next row in ``order``, which is a ring, with another prompt than ``row``; else ``row``."""
        prompt = self.split.prompt(int(row)).tolist()
        position = int(np.flatnonzero(order == row)[0])
        candidates = map(int, np.concatenate([order[position + 1 :], order[:position]]))
        return next((c for c in candidates if self.split.prompt(c).tolist() != prompt), int(row))
