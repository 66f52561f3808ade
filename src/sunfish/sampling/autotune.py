"""Time against quality over samplers, block lengths and guidance scales, and which setting to recommend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import mean, median
from typing import Any, NamedTuple

from sunfish.config import GenerationConfig
from sunfish.data.stories.oracle import check, grammatical
from sunfish.sampling.generated import Generated
from sunfish.sampling.generation_config import BEST, FAST
from sunfish.sampling.pipeline import Pipeline

FAST_SECONDS = 1.0
QUALITY_TOLERANCE = 0.01  # two qualities nearer than this are alike: the faster one is recommended
CANDIDATES: tuple[dict[str, Any], ...] = (
    {"block_length": 4},
    {"block_length": 8},
    {"block_length": 8, "lenience": 0.5},
    {"block_length": 16},
    {"sampler": "verified:1", "block_length": 3},
    {"sampler": "verified:1", "block_length": 5},
    {"sampler": "leftmost", "block_length": 4, "num_steps": 4},
    {"sampler": "leftmost", "block_length": 4, "num_steps": 2},
    {"sampler": "prefix:0.5", "block_length": 8, "num_steps": 8},
    {"sampler": "threshold:0.9", "block_length": 8, "num_steps": 8},
    {"sampler": "entropy:0.1", "block_length": 8, "num_steps": 8},
)


class Measurement(NamedTuple):
    """What one setting costs and gives."""

    config: GenerationConfig
    seconds: float  # median for a text, batch 1
    quality: float  # 0 to 1
    parts: dict[str, float]  # what the quality is made of


Metric = Callable[[Pipeline, Sequence[Generated]], dict[str, float]]


def by_oracle(pipeline: Pipeline, texts: Sequence[Generated]) -> dict[str, float]:
    """For models of the built-in stories: the share of grammatical sentences, and of prompt constraints satisfied."""
    sentences = [good for text in texts for _, good in grammatical(text.text)]
    constraints = [met for text in texts for met in check(text.prompt, text.text).values()]
    return {"grammar": mean(sentences or [0]), "constraints": mean(constraints or [0])}


def by_likelihood(pipeline: Pipeline, texts: Sequence[Generated]) -> dict[str, float]:
    """For other models: the geometric mean probability of a token given the prompt, and the share of distinct bigrams.

    The probability is exact, by the model's own causal mode. Alone it would praise repetition, which the second counts.
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


def candidates(
    scales: Iterable[float], settings: Sequence[dict[str, Any]] = CANDIDATES
) -> list[GenerationConfig]:
    """Every setting at every scale; all else as it is by default."""
    return [GenerationConfig(**setting, guidance_scale=scale) for scale in scales for setting in settings]


def measure(
    pipeline: Pipeline,
    prompts: Sequence[str],
    configs: Iterable[GenerationConfig],
    metric: Metric,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Each setting as it is measured; the quality is the product of what the metric says."""
    pipeline.generate(prompts[:1], seed=seed)  # the first text pays for what is set up once
    for config in configs:
        texts, seconds = [], []
        for number, prompt in enumerate(prompts):
            begin = time.perf_counter()
            texts += pipeline.generate([prompt], config, seed=seed + number)
            seconds.append(time.perf_counter() - begin)
        parts = metric(pipeline, texts)
        yield Measurement(config, median(seconds), math.prod(parts.values()), parts)


def pareto_front(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those that no other one beats in both time and quality, fastest first."""
    best, front = -1.0, []
    for measurement in sorted(measurements, key=lambda m: (m.seconds, -m.quality)):
        if measurement.quality > best:
            front.append(measurement)
            best = measurement.quality
    return front


def recommend(measurements: Sequence[Measurement]) -> dict[str, GenerationConfig]:
    """``best``: the fastest of those whose quality is the highest, or close to it; ``fast``: the same within a second."""
    chosen = {}
    quick = [m for m in measurements if m.seconds < FAST_SECONDS]
    for name, eligible in ((BEST, list(measurements)), (FAST, quick)):
        if eligible:
            highest = max(m.quality for m in eligible)
            close = [m for m in eligible if m.quality >= highest - QUALITY_TOLERANCE]
            chosen[name] = min(close, key=lambda m: m.seconds).config
    return chosen
