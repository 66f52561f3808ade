"""Filling gaps: a text with [MASK], [MASK:5] or [MASK:2-12] becomes a text without, the given words untouched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from sunfish.config import GenerationConfig
from sunfish.config.generation import FILLING, MAX_PARTICLES, MAX_TEXTS, MIN_SAMPLE_SIZE, NUM_PARTICLES
from sunfish.config.rules import whole_number
from sunfish.rng import RowGenerators
from sunfish.sampling.canvas_hints import doubt, surprises
from sunfish.sampling.canvas_infilling import fill_on_canvas
from sunfish.sampling.causal_mode import CausalMode
from sunfish.sampling.gaps import DEFAULT_LENGTHS, EncodedGaps, Gaps, encode_gaps, parse
from sunfish.sampling.particles import Gap, Particles
from sunfish.sampling.posterior import GapFiller
from sunfish.sampling.prompts import check_text
from sunfish.sampling.smc import effective_sample_size, falling_order
from sunfish.sampling.speculative import speculative_decoding
from sunfish.sampling.text_generator import TextGenerator
from sunfish.utils import UsageError

CUT_CHARACTER = "\ufffd"  # what bytes that are no character decode to
DOUBTFUL = 4.0  # nats; see :func:`sunfish.sampling.canvas_hints.doubt`
MORE = 8  # times as many fills are compared where few of them count, or the likeliest one is doubtful


class Infilled(NamedTuple):
    """A text with its gaps filled. ``log_likelihood``: of all of it, given the prompt, in nats, exact.

    ``effective_sample_size``: how many independent draws from the posterior would be as sure as what was compared, at
    most the number of particles; None for a fill of the canvas, which is none of the posterior.
    """

    text: str
    prompt: str
    fills: list[str]
    tokens: int
    ids: list[int]
    log_likelihood: float
    effective_sample_size: float | None = None


@torch.no_grad()
def infill(
    pipeline: TextGenerator,
    text: str | Gaps,
    config: GenerationConfig | None = None,
    *,
    prompt: str = "",
    seed: int = 0,
    num_samples: int = 1,
    num_particles: int = NUM_PARTICLES,
    max_tokens: int | Sequence[int] | None = None,
) -> list[Infilled]:
    """Fill each gap of ``text``; all that is given comes back byte for byte.

    With the sampler ``verified``, the fills and their lengths are drawn from the posterior of the causal mode, all gaps
    jointly: p(fills given the rest and the prompt), see :mod:`sunfish.sampling.posterior`. Fills are drawn with guidance,
    temperature and nucleus; what is given is weighed by its plain likelihood. Any other sampler denoises the whole text
    as one canvas.

    Args:
        pipeline: The model.
        text: With gaps; as :class:`Gaps` where it may have ``[MASK]`` as a word.
        config: How tokens are drawn; None: ``verified`` without guidance. ``block_length`` has no part in it.
        prompt: What the text is about.
        seed: The same seed gives the same fills.
        num_samples: How many texts.
        num_particles: How many fills are compared, and up to eight times as many (at most MAX_PARTICLES) where one or two
            of them carry all the weight or the canvas doubts the likeliest; more are nearer to the posterior, and slower.
        max_tokens: Of every gap, or one number for each, as upper bounds of lengths that the text leaves open.

    Returns:
        ``num_samples`` texts.

    Raises:
        UsageError: The text has no gap, is longer than the context, or nothing fits a gap; an argument is wrong.
        ValueError: The network returned NaN.
    """
    config = config or FILLING
    gaps = with_max_tokens(text if isinstance(text, Gaps) else parse(text), max_tokens)
    encoded = encode_gaps(pipeline.tokenizer, gaps, pipeline.model.config.context_length)
    check_text("prompt", prompt)
    seed = whole_number("seed", seed, 0)
    num_samples = whole_number("num_samples", num_samples, 1, MAX_TEXTS)
    num_particles = whole_number("num_particles", num_particles, 1, MAX_PARTICLES)
    config = for_prompt(config, prompt)
    if config.is_corrected:
        raise UsageError(
            f"sampler is {config.sampler}, which does not see what follows a gap; give verified, or leave it out"
        )
    if not config.is_verified:
        return [
            finish(pipeline, encoded, fill_on_canvas(pipeline, encoded, config, prompt, seed, number), prompt)
            for number in range(num_samples)
        ]
    texts = []
    for number in range(num_samples):
        rng = RowGenerators.for_rows(seed, number, 1)
        particles = draw_particles(pipeline, encoded, config, prompt, rng, num_particles)
        drawn = particles.draw(float(rng.uniform(1)))
        fills = particles.fills[drawn]
        likelihood = particles.log_likelihood_of(drawn)
        if encoded.has_open_end:
            fills = [*fills[:-1], write_end(pipeline, encoded, fills, config, prompt, rng)]
            likelihood = None  # that of the text as far as the particles go
        texts.append(
            finish(pipeline, encoded, fills, prompt, sample_size(particles, num_particles), likelihood)
        )
    return texts


def for_prompt(config: GenerationConfig, prompt: str) -> GenerationConfig:
    """The settings where ``prompt`` may be empty: with nothing to guide by, both sides of guidance are the same."""
    if prompt or config.negative_prompt or config.composed_prompts:
        return config
    return replace(config, guidance_scale=0.0)


def with_max_tokens(gaps: Gaps, max_tokens: int | Sequence[int] | None) -> Gaps:
    """The gaps with upper bounds of their lengths.

    Raises:
        UsageError: A bound is no number, below the least length of its gap, or there is one too many or too few.
    """
    if max_tokens is None:
        return gaps
    count = len(gaps.lengths)
    if isinstance(max_tokens, Sequence) and not isinstance(max_tokens, str):
        if len(max_tokens) != count:
            raise UsageError(
                f"max_tokens has {len(max_tokens)} numbers, but the text has {count} gaps; give one for each"
            )
        bounds = list(max_tokens)
    else:
        bounds = [max_tokens] * count
    lengths = []
    for span, bound in zip(gaps.lengths, bounds, strict=True):
        most = whole_number("max_tokens", bound, 1)
        if most < span[0]:
            raise UsageError(f"max_tokens is {most}, but a gap has at least {span[0]} tokens; give more")
        lengths.append(range(span[0], most + 1 if span is DEFAULT_LENGTHS else min(most, span[-1]) + 1))
    return replace(gaps, lengths=lengths)


def draw_particles(
    pipeline: TextGenerator,
    encoded: EncodedGaps,
    config: GenerationConfig,
    prompt: str,
    rng: RowGenerators,
    num_particles: int,
) -> Particles:
    """Different fills of the gaps, weighted.

    Where one or two of them carry all the weight, or the canvas finds what is given likelier than the best fill makes
    it, better ones may have been missed. Then all is done anew, with more particles, which look for fills that name
    what the best one leaves a surprise.
    """
    tokenizer = pipeline.tokenizer
    guided, condition = pipeline.guided([prompt], config)
    mode = CausalMode(guided, pipeline.process, condition, config)
    first, *others = encoded.pieces
    gaps = [
        Gap(lengths, tokenizer.spaced_ids if spaced else (), right)
        for lengths, spaced, right in zip(encoded.lengths, encoded.spaced, others, strict=True)
    ]
    if encoded.has_open_end:  # with nothing on its right, the posterior is to write on
        gaps[-1] = gaps[-1]._replace(lengths=range(1, 2))
    else:
        gaps[-1] = gaps[-1]._replace(right=[*others[-1], tokenizer.end])
    left = [tokenizer.end, *first]
    particles = GapFiller(mode, tokenizer.end, rng, num_particles).fill(left, gaps)
    given = particles.log_likelihoods[int(falling_order(particles.log_weights)[0])]
    spans, rights = [gap.lengths for gap in gaps], [gap.right for gap in gaps]
    few = num_particles > MIN_SAMPLE_SIZE > sample_size(particles, num_particles)
    if few or doubt(mode, left, spans, rights, given) > DOUBTFUL:
        more = min(MORE * num_particles, MAX_PARTICLES)
        sought = {token for token, _ in surprises(rights, given)}
        particles = GapFiller(mode, tokenizer.end, rng, more, sought).fill(left, gaps)
    whole = [all(CUT_CHARACTER not in tokenizer.decode(fill) for fill in fills) for fills in particles.fills]
    return particles.only(whole) if any(whole) else particles


def write_end(
    pipeline: TextGenerator,
    encoded: EncodedGaps,
    fills: Sequence[Sequence[int]],
    config: GenerationConfig,
    prompt: str,
    rng: RowGenerators,
) -> tuple[int, ...]:
    """The ids of an open last gap: from the first of them, in ``fills``, to where the model ends the text."""
    tokenizer = pipeline.tokenizer
    before = encoded.join_ids(fills)
    prefix = torch.tensor([[tokenizer.end, *before]], device=pipeline.device)
    guided, condition = pipeline.guided([prompt], config)
    length = pipeline.model.config.context_length - 1  # the end mark needs room, too
    states = speculative_decoding(
        guided, pipeline.process, condition, prefix, length, rng, config, tokenizer.end
    )
    ids = torch.cat([prefix[:, :0], *(state.x for state in states if state.done)], dim=1)[0].tolist()
    written = ids[: ids.index(tokenizer.end)] if tokenizer.end in ids else ids
    return (*fills[-1], *written)


def sample_size(particles: Particles, num_particles: int) -> float:
    """The effective sample size of particles."""
    return effective_sample_size(particles.log_weights, particles.log_kept, num_particles)


def finish(
    pipeline: TextGenerator,
    encoded: EncodedGaps,
    fills: Sequence[Sequence[int]],
    prompt: str,
    size: float | None = None,
    log_likelihood: float | None = None,
) -> Infilled:
    """The text with these fills; its ``log_likelihood`` costs a pass where it is not known."""
    tokenizer = pipeline.tokenizer
    ids = encoded.join_ids(fills)
    if log_likelihood is None:
        row = torch.tensor([[tokenizer.end, *ids, tokenizer.end]], device=pipeline.device)
        log_likelihood = float(pipeline.log_likelihood(row, pipeline.encode([prompt])))
    texts = [tokenizer.decode(fill) for fill in fills]
    return Infilled(encoded.join(texts), prompt, texts, len(ids), ids, log_likelihood, size)
