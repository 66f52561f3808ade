"""Time against quality over samplers, steps and guidance scales, and which setting to recommend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import mean, median
from typing import NamedTuple

from sunfish.config.sampling import SamplingSettings
from sunfish.data.stories.oracle import check, grammatical
from sunfish.sampling.generation_config import BEST, FAST, Generation
from sunfish.sampling.pipeline import Generated, Pipeline

SECOND = 1.0
CLOSE = 0.01  # two qualities nearer than this are alike: the faster one is recommended
WAYS = (
    {"block_length": 4}, {"block_length": 8}, {"block_length": 8, "lenience": 0.5}, {"block_length": 16},
    {"sampler": "verified:1", "block_length": 3}, {"sampler": "verified:1", "block_length": 5},
    {"sampler": "leftmost", "block_length": 4, "num_steps": 4},
    {"sampler": "leftmost", "block_length": 4, "num_steps": 2},
    {"sampler": "leftmost", "block_length": 8, "num_steps": 2, "revisions": 4},
    {"sampler": "prefix:0.5", "block_length": 8, "num_steps": 8},
    {"sampler": "threshold:0.9", "block_length": 8, "num_steps": 8},
    {"sampler": "entropy:0.1", "block_length": 8, "num_steps": 8},
)  # fmt: skip


class Point(NamedTuple):
    """What one setting costs and gives."""

    generation: Generation
    seconds: float  # median for a text, batch 1
    quality: float  # 0 to 1
    parts: dict[str, float]  # what the quality is made of


Judge = Callable[[Pipeline, Sequence[Generated]], dict[str, float]]


def by_oracle(pipeline: Pipeline, texts: Sequence[Generated]) -> dict[str, float]:
    """For models of the built-in stories: the share of grammatical sentences, and of demands that are met."""
    sentences = [good for text in texts for _, good in grammatical(text.text)]
    demands = [met for text in texts for met in check(text.prompt, text.text).values()]
    return {"grammar": mean(sentences or [0]), "met": mean(demands or [0])}


def by_likelihood(pipeline: Pipeline, texts: Sequence[Generated]) -> dict[str, float]:
    """For other models: the geometric mean probability of a token given the prompt, and the share of distinct bigrams.

    The probability is exact, by the model's own memory. Alone it would praise repetition, which the second counts.
    """
    nats, tokens = 0.0, 0
    bigrams: list[tuple[int, int]] = []
    for text in texts:
        row = pipeline.row(text)
        if row.shape[1] > 1:
            nats += float(pipeline.log_likelihood(row, pipeline.encode([text.prompt])))
            tokens += row.shape[1] - 1
        bigrams += zip(text.ids, text.ids[1:], strict=False)
    return {
        "likelihood": math.exp(nats / max(1, tokens)),
        "distinct": len(set(bigrams)) / max(1, len(bigrams)),
    }


def candidates(scales: Iterable[float]) -> list[Generation]:
    """Every way to write at every scale; all else as it is by default."""
    return [Generation(SamplingSettings(**way), scale) for scale in scales for way in WAYS]


def measure(
    pipeline: Pipeline, prompts: Sequence[str], ways: Iterable[Generation], judge: Judge, seed: int = 0
) -> Iterator[Point]:
    """A point for each way, as it is measured. The quality is the product of what the judge says."""
    pipeline.generate(prompts[:1], seed=seed)  # the first text pays for what is set up once
    for way in ways:
        texts, seconds = [], []
        for number, prompt in enumerate(prompts):
            begin = time.perf_counter()
            texts += pipeline.generate(
                [prompt],
                guidance_scale=way.guidance_scale,
                settings=way.settings,
                seed=seed + number,
            )
            seconds.append(time.perf_counter() - begin)
        parts = judge(pipeline, texts)
        yield Point(way, median(seconds), math.prod(parts.values()), parts)


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both time and quality, fastest first."""
    best, kept = -1.0, []
    for point in sorted(points, key=lambda p: (p.seconds, -p.quality)):
        if point.quality > best:
            kept.append(point)
            best = point.quality
    return kept


def recommend(points: Sequence[Point]) -> dict[str, Generation]:
    """``best``: the fastest of those whose quality is the highest, or close to it; ``fast``: the same within a second."""
    found = {}
    for name, among in ((BEST, list(points)), (FAST, [p for p in points if p.seconds < SECOND])):
        if among:
            highest = max(point.quality for point in among)
            close = [point for point in among if point.quality >= highest - CLOSE]
            found[name] = min(close, key=lambda point: point.seconds).generation
    return found
