"""Turns a prepared split into batches; batch ``step`` is a pure function of (seed, step).

So resuming a run exactly needs one integer.

The examples form one endless sequence, epoch after epoch, each epoch in its own random order by (seed,
epoch). That sequence is cut into windows of up to 32 batches; inside a window the rows are sorted by length,
cut into batches of similar lengths, and the batches shuffled. So little is padding, a document occurs exactly
once an epoch, the remainder of an epoch shares its last batch with the beginning of the next one, and no row
is dropped. One long text without prompts is cut into its rows at another place in each epoch, so that a network that
reads it many times does not meet each word at one position only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sunfish.data.dataset import PreparedSplit
from sunfish.types import Batch

WINDOW = 32  # batches in one window
ROW_MULTIPLE = 8
PROMPT_MULTIPLE = 4


class Batches:
    """The batches of one split. Nothing but caches changes when they are asked for."""

    def __init__(
        self, split: PreparedSplit, batch_size: int, end: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        """``batch_size`` rows a step on each of ``world`` ranks; ``end`` is the id that pads short rows."""
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, but it must be at least 1")
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank} of world {world}: it must lie between 0 and world - 1")
        self.split, self.batch_size, self.end, self.seed = split, batch_size, end, seed
        self.rank, self.world = rank, world
        self.rows = batch_size * world  # rows of one step over all ranks
        # A window longer than an epoch would put copies of one document side by side in a batch.
        self.window = max(1, min(WINDOW, len(split) // self.rows))
        self._orders: dict[int, np.ndarray] = {}
        self._plan: tuple[int, np.ndarray] = (-1, np.empty((2, 0, 0), np.int64))

    def batch(self, step: int) -> Batch:
        """Batch number ``step`` of this rank; the same in any object with the same arguments."""
        rows, shifts = self._global_rows(step)
        width = self._width(rows)  # of the global batch, so that all ranks have equal shapes
        own = slice(self.rank, None, self.world)
        return self._tensors(rows[own], width, shifts=shifts[own])

    def row_numbers(self, step: int) -> list[int]:
        """Which rows of the split make up batch ``step`` of this rank, for error messages."""
        return [int(row) for row in self._global_rows(step)[0][self.rank :: self.world]]

    def epoch(self, step: int) -> float:
        """How often the corpus was seen before ``step``."""
        return step * self.rows / len(self.split)

    def in_order(self, limit: int, batch_size: int, wrong_prompts: bool = False) -> Iterator[Batch]:
        """The first ``limit`` rows (0: all), each exactly once, shortest first; for evaluation, on one rank.

        The last batch may have fewer rows. With ``wrong_prompts`` every row has the prompt of another row, the next one
        whose prompt differs from its own (its own only where all prompts are the same).
        """
        count = min(limit, len(self.split)) if limit else len(self.split)
        rows = np.argsort(self.split.lengths[:count], kind="stable")
        for first in range(0, count, batch_size):
            chosen = rows[first : first + batch_size]
            others = np.array([self._other_prompt(row, rows) for row in chosen]) if wrong_prompts else chosen
            yield self._tensors(chosen, self._width(chosen), others)

    def padding(self, steps: int) -> float:
        """Share of padded positions in the first ``steps`` global batches."""
        real = processed = 0
        for step in range(steps):
            rows, _ = self._global_rows(step)
            real += int(self.split.lengths[rows].sum())
            processed += self._width(rows) * len(rows)
        return 1 - real / processed

    def _global_rows(self, step: int) -> np.ndarray:
        """Row numbers of one step over all ranks, and how far each is shifted, ``[2, batch_size * world]``."""
        if step < 0:
            raise ValueError(f"step is {step}, but it must not be negative")
        if len(self.split) < self.rows:
            raise ValueError(
                f"the corpus has {len(self.split)} rows, fewer than one batch of {self.rows} "
                f"({self.batch_size} x {self.world} ranks); use a smaller --batch_size or more text"
            )
        number, within = divmod(step, self.window)
        if self._plan[0] != number:
            self._plan = (number, self._window_rows(number))
        return self._plan[1][:, within]

    def _window_rows(self, number: int) -> np.ndarray:
        """Row numbers and shifts ``[2, window, batch_size * world]`` of one window, its batches shuffled."""
        size = self.window * self.rows
        position = np.arange(number * size, (number + 1) * size)
        epochs = position // len(self.split)
        both = np.empty((2, size), np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            both[0, here] = self._order(int(epoch))[position[here] % len(self.split)]
            both[1, here] = self._shift(int(epoch))
        both = both[:, np.argsort(self.split.lengths[both[0]], kind="stable")]
        shuffled = np.random.default_rng([self.seed, 1, number]).permutation(self.window)
        return both.reshape(2, self.window, self.rows)[:, shuffled]

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.split))
            self._orders[epoch] = order
        return self._orders[epoch]

    def _shift(self, epoch: int) -> int:
        """How many tokens later than they are prepared the rows of one text begin."""
        if not self.split.one_text:
            return 0
        return int(np.random.default_rng([self.seed, 2, epoch]).integers(self.split.context_length - 1))

    def _width(self, rows: np.ndarray) -> int:
        longest = int(self.split.lengths[rows].max())
        return min(-(-longest // ROW_MULTIPLE) * ROW_MULTIPLE, self.split.context_length)

    def _other_prompt(self, row: int, rows: np.ndarray) -> int:
        own = self.split.prompt(int(row)).tolist()
        at = int(np.flatnonzero(rows == row)[0])
        around = np.concatenate([rows[at + 1 :], rows[:at]])
        return next((int(r) for r in around if self.split.prompt(int(r)).tolist() != own), int(row))

    def _tensors(
        self,
        rows: np.ndarray,
        width: int,
        prompts_of: np.ndarray | None = None,
        shifts: np.ndarray | None = None,
    ) -> Batch:
        """The batch of ``rows``, with the prompts of the rows ``prompts_of`` (their own by default)."""
        lengths = np.asarray(self.split.lengths[rows], np.int64)
        prompts = [self.split.prompt(int(i)) for i in (rows if prompts_of is None else prompts_of)]
        longest = max(1, max(len(p) for p in prompts))
        x0 = np.full((len(rows), width), self.end, np.int64)
        # Masked slots hold id 0, which every vocabulary has, also a prompt encoder's own.
        prompt = np.zeros((len(rows), -(-longest // PROMPT_MULTIPLE) * PROMPT_MULTIPLE), np.int64)
        mask = np.zeros(prompt.shape, bool)
        for at, i in enumerate(rows):
            x0[at, : lengths[at]] = self.split.row(int(i), 0 if shifts is None else int(shifts[at]))
            prompt[at, : len(prompts[at])] = prompts[at]
            mask[at, : len(prompts[at])] = True
        tensor = torch.from_numpy
        return Batch(tensor(x0), tensor(lengths), tensor(prompt), tensor(mask))
