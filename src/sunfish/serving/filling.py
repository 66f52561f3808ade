"""The work of gaps: texts whose gaps are filled, and texts of which some words are written anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sunfish.config import GenerationConfig
from sunfish.sampling.editing import Span, rewrite
from sunfish.sampling.gaps import Gaps, encode_gaps
from sunfish.sampling.infilling import Infilled, with_max_tokens
from sunfish.sampling.likelihood import TokenScorer
from sunfish.sampling.pipeline import Pipeline
from sunfish.serving.writing import ScoredToken, score_tokens


class Filled(NamedTuple):
    """A text with its gaps filled."""

    infilled: Infilled
    finished: bool  # False: it ends with a gap for which the context had no more room
    prompt_tokens: int  # those of the prompt and of all that is given
    tokens: int  # of the fills
    left: int  # tokens before the first gap
    scored: list[ScoredToken] | None = None  # all tokens of the text; None: not asked for


@dataclass(frozen=True)
class FillTask:
    """All fills of a request."""

    gaps: Gaps
    prompt: str
    config: GenerationConfig
    seed: int
    count: int
    num_particles: int
    max_tokens: int | None
    num_top: int | None = None  # of log-probabilities; None: none are asked for

    def __call__(self, pipeline: Pipeline) -> Iterator[Filled]:
        """Fill the gaps."""
        gaps = with_max_tokens(self.gaps, self.max_tokens)
        texts = pipeline.infill(
            gaps,
            self.config,
            prompt=self.prompt,
            seed=self.seed,
            num_samples=self.count,
            num_particles=self.num_particles,
        )
        context = pipeline.model.config.context_length
        encoded = encode_gaps(pipeline.tokenizer, gaps, context)
        given = sum(map(len, encoded.pieces))
        asked = given + len(pipeline.prompt_tokenizer.encode_prompt(self.prompt))
        for text in texts:
            scorer = None if self.num_top is None else TokenScorer(pipeline, self.prompt, self.num_top)
            yield Filled(
                text,
                finished=not encoded.has_open_end or text.tokens < context - 2,  # beside the two marks
                prompt_tokens=asked,
                tokens=text.tokens - given,
                left=len(encoded.pieces[0]),
                scored=score_tokens(pipeline, scorer, text.ids, 0),
            )


@dataclass(frozen=True)
class RewriteTask:
    """All alternatives of a request."""

    text: str
    spans: list[Span]
    prompt: str
    config: GenerationConfig
    seed: int
    count: int
    num_particles: int

    def __call__(self, pipeline: Pipeline) -> Iterator[Infilled]:
        """Write the spans anew; the likeliest text comes first."""
        yield from rewrite(
            pipeline,
            self.text,
            self.spans,
            self.prompt,
            self.config,
            seed=self.seed,
            n=self.count,
            num_particles=self.num_particles,
        )
