"""Filling gaps on the canvas: the whole text is one block, and the drafts of all lengths are compared."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

from sunfish.config import GenerationConfig
from sunfish.rng import RowGenerators
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.sampling.gaps import EncodedGaps
from sunfish.sampling.text_generator import TextGenerator


class _Draft(NamedTuple):
    """Fills of certain lengths, and the exact log-likelihood of the text with them."""

    log_likelihood: float
    fills: list[list[int]]


def fill_on_canvas(
    pipeline: TextGenerator,
    encoded: EncodedGaps,
    config: GenerationConfig,
    prompt: str,
    seed: int,
    number: int,
) -> list[list[int]]:
    """Ids for each gap. Where a length is open, one gap after the other is drafted at each of its lengths.

    The draft whose text is the likeliest, by its exact log-likelihood as a whole, is kept.

    Args:
        pipeline: The model.
        encoded: The text.
        config: How tokens are drawn; ``block_length`` has no part in it.
        prompt: What the text is about.
        seed: Of all fills.
        number: Of this one.
    """
    chosen = [span[(len(span) - 1) // 2] for span in encoded.lengths]
    best: _Draft | None = None
    for place, span in enumerate(encoded.lengths):
        for length in span:
            lengths = [*chosen[:place], length, *chosen[place + 1 :]]
            if best is not None and lengths == chosen:
                continue  # drafted when the gap before this one was settled
            rng = RowGenerators.for_rows(seed, number, 1)
            draft = _draft(pipeline, encoded, lengths, config, prompt, rng)
            if best is None or draft.log_likelihood > best.log_likelihood:
                best, chosen = draft, lengths
    assert best is not None
    return best.fills


class _Row(NamedTuple):
    """A text with its gaps as ids."""

    ids: list[int]
    free: list[bool]
    spans: list[slice]  # of each gap


def _row(encoded: EncodedGaps, lengths: list[int], end: int) -> _Row:
    row = _Row([end], [False], [])
    for i, known in enumerate(encoded.pieces):
        row.ids.extend(known)
        row.free.extend([False] * len(known))
        if i < len(lengths):
            row.spans.append(slice(len(row.ids), len(row.ids) + lengths[i]))
            row.ids.extend([end] * lengths[i])
            row.free.extend([True] * lengths[i])
    row.ids.append(end)
    row.free.append(False)
    return row


def _draft(
    pipeline: TextGenerator,
    encoded: EncodedGaps,
    lengths: list[int],
    config: GenerationConfig,
    prompt: str,
    rng: RowGenerators,
) -> _Draft:
    end = pipeline.tokenizer.end
    row = _row(encoded, lengths, end)
    # No text ends in a gap.
    guided, condition = pipeline.guided([prompt], config, banned_ids=[end])
    ids, free = (torch.tensor([part], device=pipeline.device) for part in (row.ids, row.free))
    whole = replace(config, block_length=0)
    states = block_diffusion(guided, pipeline.process, condition, ids, free, rng, whole)
    done = next(state.x for state in states if state.done)
    likelihood = pipeline.log_likelihood(done, pipeline.encode([prompt]))
    return _Draft(float(likelihood), [done[0, span].tolist() for span in row.spans])
