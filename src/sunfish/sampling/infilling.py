"""Filling gaps: a text with [MASK], [MASK:5] or [MASK:2-12] becomes a text without, the given words untouched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from sunfish.config.sampling import GUIDANCE_SCALE, SamplingSettings
from sunfish.rng import Streams
from sunfish.sampling.block_diffusion import generate
from sunfish.sampling.pipeline import Generated, Pipeline

GAP = re.compile(r"\[MASK(?::([^\]]*))?\]")
OPEN = range(1, 7)  # tokens; the lengths that are tried for a gap without a number


class Gaps(NamedTuple):
    """The given pieces of a text, and between them the lengths in tokens that each gap may have."""

    pieces: list[str]
    lengths: list[range]


def parse(text: str) -> Gaps:
    """Cut ``text`` at its gaps. ``ValueError`` where there is none, or one with a length that is no length."""
    parts = GAP.split(text)  # piece, length, piece, ..., piece
    lengths = []
    for number in parts[1::2]:
        low, dash, high = (number or "").partition("-")
        try:
            span = OPEN if number is None else range(int(low), int(high if dash else low) + 1)
        except ValueError:
            span = range(0)
        if not span or span[0] < 1:
            raise ValueError(f"the gap [MASK:{number}] has no length; write [MASK], [MASK:5] or [MASK:2-12]")
        lengths.append(span)
    if not lengths:
        raise ValueError(
            f"the text {text[:40]!r} has no [MASK] to fill; mark each gap with [MASK] or [MASK:5]"
        )
    return Gaps(parts[0::2], lengths)


@torch.no_grad()
def infill(
    pipeline: Pipeline,
    text: str,
    *,
    prompt: str = "",
    guidance_scale: float = GUIDANCE_SCALE,
    settings: SamplingSettings | None = None,
    seed: int = 0,
    num_samples: int = 1,
) -> list[Generated]:
    """Fill each gap of ``text`` ``num_samples`` times; all that is given comes back byte for byte.

    Where a length is open, one gap after the other is drafted at each of its lengths, and the draft whose text
    is the likeliest, by its exact log-likelihood as a whole, is kept. The whole text is one block: ``block_length``
    has no part in it. Raises ``ValueError`` for a text without gaps or longer than the context, and for the sampler
    ``verified``.
    """
    settings = settings or SamplingSettings(sampler=pipeline.process.samplers[0])
    if settings.verifies:
        raise ValueError(
            f"sampler is {settings.sampler!r}, which writes from left to right and cannot fill a gap; use leftmost or "
            "another"
        )
    gaps = parse(text)
    results = []
    for number in range(num_samples):
        chosen = [span[(len(span) - 1) // 2] for span in gaps.lengths]
        best: tuple[float, Generated] | None = None
        for at, span in enumerate(gaps.lengths):
            for length in span:
                tried = [*chosen[:at], length, *chosen[at + 1 :]]
                if best is not None and tried == chosen:
                    continue  # drafted when the gap before this one was settled
                draft = _fill(pipeline, gaps.pieces, tried, prompt, guidance_scale, settings, seed, number)
                if best is None or draft[0] > best[0]:
                    best, chosen = draft, tried
        assert best is not None
        results.append(best[1])
    return results


def _fill(
    pipeline: Pipeline,
    pieces: Sequence[str],
    lengths: Sequence[int],
    prompt: str,
    guidance_scale: float,
    settings: SamplingSettings,
    seed: int,
    number: int,
) -> tuple[float, Generated]:
    """One draft with gaps of these lengths: its log-likelihood, and the text."""
    tokenizer, end = pipeline.tokenizer, pipeline.tokenizer.end
    ids, free = [end], [False]
    spans: list[slice] = []
    for i, piece in enumerate(pieces):
        # Tokens carry their leading space, so the space before a gap belongs to the gap's first token.
        known = tokenizer.encode(piece.removesuffix(" ") if i < len(lengths) else piece)
        ids += known
        free += [False] * len(known)
        if i < len(lengths):
            spans.append(slice(len(ids), len(ids) + lengths[i]))
            ids += [end] * lengths[i]
            free += [True] * lengths[i]
    ids.append(end)
    free.append(False)
    limit = pipeline.model.config.context_length
    if len(ids) > limit:
        raise ValueError(
            f"the text with its gaps has {len(ids)} tokens, end marks included, but this model reads at most "
            f"{limit}; shorten it"
        )
    scale = guidance_scale if prompt or settings.negative_prompt else 0.0
    guided, cond = pipeline.guided([prompt], scale, settings, never=[end])  # a gap is not where a text ends
    given, mask = torch.tensor([ids], device=pipeline.device), torch.tensor([free], device=pipeline.device)
    rng = Streams.for_rows(seed, number, 1)
    whole = replace(settings, block_length=0)
    done = torch.cat(list(generate(guided, pipeline.process, cond, given, mask, rng, whole)), dim=1)
    likelihood = pipeline.log_likelihood(done, pipeline.encode([prompt]))
    text = pieces[0]
    for span, piece in zip(spans, pieces[1:], strict=True):
        fill = tokenizer.decode(done[0, span].tolist())
        text += (fill.lstrip(" ") if text.endswith(" ") else fill) + piece
    return float(likelihood), Generated(text, prompt, True, len(ids) - 2, done[0, 1:-1].tolist())
