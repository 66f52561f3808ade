"""Filling gaps: a text with [MASK], [MASK:5] or [MASK:2-12] becomes a text without, the given words untouched."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import torch

from sunfish.config import GenerationConfig
from sunfish.config.generation import MAX_TEXTS
from sunfish.config.rules import shown, whole_number
from sunfish.rng import RowGenerators
from sunfish.sampling.block_diffusion import block_diffusion
from sunfish.sampling.pipeline import Generated, Pipeline
from sunfish.sampling.prompts import MAX_CHARACTERS, check_text, encode_text
from sunfish.utils import UsageError

GAP = re.compile(r"\[MASK(?::([^\]\n]*))?\]")
LENGTH = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?")
# What was meant as a gap and is none; [MASKS] is a word.
UNFINISHED = re.compile(r"\[MASK(?![\]\w]).{0,20}")
DEFAULT_LENGTHS = range(1, 7)  # tokens; the lengths that are tried for a gap without a number


class Gaps(NamedTuple):
    """The given pieces of a text, and between them the lengths in tokens that each gap may have."""

    pieces: list[str]
    lengths: list[range]


def parse(text: str) -> Gaps:
    """Cut ``text`` at its gaps.

    Raises:
        UsageError: There is no gap, or one with a length that is no length.
    """
    parts = GAP.split(text)  # piece, length, piece, ..., piece
    lengths = [DEFAULT_LENGTHS if number is None else _span(number) for number in parts[1::2]]
    pieces = parts[0::2]
    for match in filter(None, map(UNFINISHED.search, pieces)):
        raise UsageError(f"the gap {match[0]!r} is incomplete; write [MASK], [MASK:5] or [MASK:2-12]")
    if not lengths:
        raise UsageError(
            f"the text {shown(text)} has no [MASK] to fill; mark each gap with [MASK] or [MASK:5]"
        )
    return Gaps(pieces, lengths)


def _span(number: str) -> range:
    """The lengths of a gap ``[MASK:number]``; the digits of any script count."""
    match = LENGTH.fullmatch(number)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high:
        raise UsageError(
            f"the gap [MASK:{shown(number, 20)[1:-1]}] has no length; write [MASK], [MASK:5] or [MASK:2-12]"
        )
    return range(low, high + 1)


@torch.no_grad()
def infill(
    pipeline: Pipeline,
    text: str,
    config: GenerationConfig | None = None,
    *,
    prompt: str = "",
    seed: int = 0,
    num_samples: int = 1,
) -> list[Generated]:
    """Fill each gap of ``text``; all that is given comes back byte for byte.

    Where a length is open, one gap after the other is drafted at each of its lengths, and the draft whose text is the
    likeliest, by its exact log-likelihood as a whole, is kept.

    Args:
        pipeline: The model.
        text: With gaps.
        config: How tokens are drawn; None: the process's default sampler. The whole text is one block, so
            ``block_length`` has no part in it.
        prompt: What the text is about.
        seed: The same seed gives the same fillings.
        num_samples: How many fillings.

    Returns:
        ``num_samples`` texts.

    Raises:
        UsageError: The text has no gap or is longer than the context, or the sampler is ``verified``.
        ValueError: The network returned NaN.
    """
    config = config or GenerationConfig(sampler=pipeline.process.default_sampler)
    if config.is_verified:
        raise UsageError(
            f"sampler is {config.sampler!r}, which writes from left to right and cannot fill a gap; use leftmost or "
            "another"
        )
    check_text("text", text)
    limit = pipeline.model.config.context_length
    if len(text) > limit * MAX_CHARACTERS:
        raise UsageError(
            f"the text has {len(text):,} characters, but this model has a context of {limit} tokens; shorten it"
        )
    gaps, seed = parse(text), whole_number("seed", seed, 0)
    _check_room(pipeline, gaps)
    results = []
    for number in range(whole_number("num_samples", num_samples, 1, MAX_TEXTS)):
        chosen = [span[(len(span) - 1) // 2] for span in gaps.lengths]
        best: _Filled | None = None
        for place, span in enumerate(gaps.lengths):
            for length in span:
                lengths = [*chosen[:place], length, *chosen[place + 1 :]]
                if best is not None and lengths == chosen:
                    continue  # drafted when the gap before this one was settled
                filled = _fill(
                    pipeline, gaps.pieces, lengths, config, prompt, RowGenerators.for_rows(seed, number, 1)
                )
                if best is None or filled.log_likelihood > best.log_likelihood:
                    best, chosen = filled, lengths
        assert best is not None
        results.append(best.text)
    return results


class _Filled(NamedTuple):
    """One draft with gaps of certain lengths."""

    log_likelihood: float
    text: Generated


class _Row(NamedTuple):
    """A text with its gaps as ids."""

    ids: list[int]
    free: list[bool]
    spans: list[slice]  # of each gap


def _encode(pipeline: Pipeline, pieces: list[str], lengths: list[int]) -> _Row:
    end = pipeline.tokenizer.end
    row = _Row([end], [False], [])
    for i, known in enumerate(_encode_pieces(pipeline, pieces)):
        row.ids.extend(known)
        row.free.extend([False] * len(known))
        if i < len(lengths):
            row.spans.append(slice(len(row.ids), len(row.ids) + lengths[i]))
            row.ids.extend([end] * lengths[i])
            row.free.extend([True] * lengths[i])
    row.ids.append(end)
    row.free.append(False)
    return row


def _encode_pieces(pipeline: Pipeline, pieces: list[str]) -> list[list[int]]:
    """The ids of each piece. A token carries its leading space: that before a gap belongs to the gap's first token."""
    before_gaps = [piece.removesuffix(" ") for piece in pieces[:-1]]
    encode = pipeline.tokenizer.encode
    return [encode_text(encode, piece, "the text") for piece in [*before_gaps, pieces[-1]]]


def _check_room(pipeline: Pipeline, gaps: Gaps) -> None:
    """Refuse, before anything is drafted, a text that is too long with its gaps at their longest."""
    known = sum(map(len, _encode_pieces(pipeline, gaps.pieces)))
    length = known + sum(span[-1] for span in gaps.lengths) + 2
    limit = pipeline.model.config.context_length
    if length > limit:
        raise UsageError(
            f"the text with its gaps has {length} tokens, end marks included, but this model has a context of "
            f"{limit}; shorten it"
        )


def _fill(
    pipeline: Pipeline,
    pieces: list[str],
    lengths: list[int],
    config: GenerationConfig,
    prompt: str,
    rng: RowGenerators,
) -> _Filled:
    tokenizer, row = pipeline.tokenizer, _encode(pipeline, pieces, lengths)
    if not (prompt or config.negative_prompt or config.composed_prompts):
        config = replace(config, guidance_scale=0.0)
    # No text ends in a gap.
    guided, condition = pipeline.guided([prompt], config, banned_ids=[tokenizer.end])
    ids, free = (torch.tensor([part], device=pipeline.device) for part in (row.ids, row.free))
    whole = replace(config, block_length=0)
    states = block_diffusion(guided, pipeline.process, condition, ids, free, rng, whole)
    done = next(state.x for state in states if state.done)
    likelihood = pipeline.log_likelihood(done, pipeline.encode([prompt]))
    text = pieces[0]
    for span, piece in zip(row.spans, pieces[1:], strict=True):
        fill = tokenizer.decode(done[0, span].tolist())
        text += (fill.lstrip(" ") if text.endswith(" ") else fill) + piece
    generated = Generated(text, prompt, True, len(row.ids) - 2, done[0, 1:-1].tolist())
    return _Filled(float(likelihood), generated)
