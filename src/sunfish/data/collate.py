"""Makes a batch of some rows of a split: padded texts, padded prompts."""

from __future__ import annotations

import numpy as np
import torch

from sunfish.data.dataset import PreparedSplit
from sunfish.data.padding import Rows
from sunfish.types import Batch

PROMPT_MULTIPLE = 16  # of the width of prompts, which has few values for the reason of ``padding.py``


def collate(
    split: PreparedSplit, end: int, width: int, rows: Rows, shifts: Rows, prompt_rows: Rows | None = None
) -> Batch:
    """The batch of some rows.

    Args:
        split: Has the rows.
        end: The end-of-text id, which pads texts.
        width: Positions of each text with its padding.
        rows: ``[B]`` numbers of the rows.
        shifts: ``[B]`` how many tokens later than they are prepared they begin.
        prompt_rows: ``[B]`` numbers of the rows whose prompts they have; None: their own.
    """
    lengths = np.asarray(split.lengths[rows], np.int64)
    prompts = [split.prompt(int(row)) for row in (rows if prompt_rows is None else prompt_rows)]
    longest = max(1, max(len(prompt) for prompt in prompts))
    prompt_width = min(-(-longest // PROMPT_MULTIPLE) * PROMPT_MULTIPLE, max(1, split.prompt_length))
    x0 = np.full((len(rows), width), end, np.int64)
    # Masked positions hold id 0, which every vocabulary has, also a prompt encoder's own.
    prompt_ids = np.zeros((len(rows), prompt_width), np.int64)
    prompt_mask = np.zeros(prompt_ids.shape, bool)
    for i, (row, shift, prompt) in enumerate(zip(rows, shifts, prompts, strict=True)):
        x0[i, : lengths[i]] = split.row(int(row), int(shift))
        prompt_ids[i, : len(prompt)] = prompt
        prompt_mask[i, : len(prompt)] = True
    ids, mask = torch.from_numpy(prompt_ids), torch.from_numpy(prompt_mask)
    return Batch(torch.from_numpy(x0), torch.from_numpy(lengths), ids, mask)
