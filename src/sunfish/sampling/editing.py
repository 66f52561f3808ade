"""Rewriting parts of a text: the parts become gaps, the rest stays as it is, and different fills are offered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from sunfish.config import GenerationConfig
from sunfish.config.generation import FILLING, MAX_PARTICLES, NUM_PARTICLES
from sunfish.config.rules import shown, whole_number
from sunfish.rng import RowGenerators
from sunfish.sampling.gaps import Gaps, encode_gaps
from sunfish.sampling.infilling import (
    Infilled,
    draw_particles,
    finish,
    for_prompt,
    sample_size,
)
from sunfish.sampling.prompts import check_text, encode_text
from sunfish.sampling.text_generator import TextGenerator
from sunfish.utils import UsageError

Span = tuple[int, int]  # characters from start up to end
MOST_ALTERNATIVES = 64
SPARE_TOKENS = 8  # by which new words may be longer than twice the old ones
MAX_ROUNDS = 4  # of particles, where one does not hold enough different texts


def find_spans(text: str, words: Sequence[str]) -> list[Span]:
    """Where each of ``words`` stands in ``text``.

    Raises:
        UsageError: Some are not there, or more than once.
    """
    spans = []
    for part in words:
        count = text.count(part) if part else 0
        if count != 1:
            where = f"stands {count} times in the text" if count else "is not in the text"
            remedy = (
                "give more of the words around it, or the range of its characters" if count else "copy it"
            )
            raise UsageError(f"what to replace, {shown(part)}, {where}; {remedy}")
        start = text.index(part)
        spans.append((start, start + len(part)))
    return spans


def check_spans(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans in the order of the text.

    Raises:
        UsageError: There is none, one lies outside of the text, or two overlap.
    """
    if not spans:
        raise UsageError("nothing is to be replaced; give at least one range of characters")
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            raise UsageError(
                f"the range {start}:{end} is not one of this text, which has {len(text)} characters; give START:END "
                "with START below END"
            )
    ordered = sorted(spans)
    for (_, end), (start, other) in pairwise(ordered):
        if start < end:
            raise UsageError(f"the range {start}:{other} overlaps the one that ends at {end}; join the two")
    return ordered


@torch.no_grad()
def rewrite(
    pipeline: TextGenerator,
    text: str,
    spans: Sequence[Span],
    prompt: str = "",
    config: GenerationConfig | None = None,
    *,
    seed: int = 0,
    n: int = 1,
    num_particles: int = NUM_PARTICLES,
) -> list[Infilled]:
    """Write other words in the place of some; all others come back byte for byte.

    Args:
        pipeline: The model.
        text: What is changed.
        spans: Ranges of characters, each (start, end), that are written anew.
        prompt: What the new words shall answer to.
        config: How they are drawn; None: ``verified`` without guidance.
        seed: The same seed gives the same texts.
        n: How many different texts, none of which is the old one.
        num_particles: How many texts are compared; at least ``n`` are.

    Returns:
        Up to ``n`` texts, the likeliest first: fewer where the model finds no more.

    Raises:
        UsageError: A range is wrong, the text does not fit into the context, or the sampler has no posterior.
        ValueError: The network returned NaN.
    """
    config = config or FILLING
    if not config.is_verified:
        raise UsageError(f"sampler is {config.sampler}, but texts are rewritten by verified; leave it out")
    check_text("text", text)
    check_text("prompt", prompt)
    n = whole_number("n", n, 1, MOST_ALTERNATIVES)
    num_particles = max(n, whole_number("num_particles", num_particles, 1, MAX_PARTICLES))
    seed = whole_number("seed", seed, 0)
    config = for_prompt(config, prompt)
    gaps = gaps_at(pipeline, text, check_spans(text, spans))
    encoded = encode_gaps(pipeline.tokenizer, gaps, pipeline.model.config.context_length)
    found: dict[str, Infilled] = {}
    for number in range(MAX_ROUNDS):
        rng = RowGenerators.for_rows(seed, number, 1)
        particles = draw_particles(pipeline, encoded, config, prompt, rng, num_particles)
        size = sample_size(particles, num_particles)
        # Drawn without replacement: the largest of log w + Gumbel noise (Kool et al. 2019, arXiv:1903.06059, section 2).
        uniform = rng.uniform(1, len(particles.fills))[0].clamp(min=1e-300)
        order = (particles.log_weights.cpu() - (-uniform.log()).log()).argsort(descending=True)
        for index in order.tolist():
            likelihood = particles.log_likelihood_of(index)
            new = finish(pipeline, encoded, particles.fills[index], prompt, size, likelihood)
            if new.text != text:
                found.setdefault(new.text, new)
            if len(found) == n:
                break
        if len(found) == n:
            break
    return sorted(found.values(), key=lambda new: -new.log_likelihood)


def gaps_at(pipeline: TextGenerator, text: str, spans: Sequence[Span]) -> Gaps:
    """``text`` with a gap in the place of each span, up to about twice as long as what stood there."""
    pieces, lengths, last = [], [], 0
    for start, end in spans:
        pieces.append(text[last:start])
        old = len(encode_text(pipeline.tokenizer.encode, text[start:end], "the text"))
        lengths.append((old, range(1, 2 * old + SPARE_TOKENS + 1)))
        last = end
    pieces.append(text[last:])
    room = (
        pipeline.model.config.context_length
        - 2
        - len(encode_text(pipeline.tokenizer.encode, text, "the text"))
    )
    spare = max(0, room) // len(spans)
    return Gaps(pieces, [range(1, min(span[-1], old + spare) + 1) for old, span in lengths])
