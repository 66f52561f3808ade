"""Owns the figures of generated texts, by the judges of sunfish.sampling.autotune."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from sunfish.sampling.autotune import by_likelihood, by_oracle
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline


def percent(values: Iterable[bool]) -> float:
    """Percentage of True; 0 of nothing."""
    flags = list(values)
    return 100 * sum(flags) / max(1, len(flags))


def oracle_figures(pipeline: Pipeline, texts: Sequence[Generated]) -> dict[str, float | None]:
    """Percentages of grammatical sentences and of satisfied constraints."""
    return {name: 100 * share for name, share in by_oracle(pipeline, texts).items()}


def shuffled_constraints(pipeline: Pipeline, texts: Sequence[Generated]) -> float:
    """Percentage of constraints that texts satisfy of another text's prompt: what chance gives."""
    others = [*texts[1:], *texts[:1]]
    pairs = [text._replace(prompt=other.prompt) for text, other in zip(texts, others, strict=True)]
    return 100 * by_oracle(pipeline, pairs)["constraints"]


def finished(texts: Sequence[Generated]) -> float:
    """Percentage of texts that reached their end."""
    return percent(text.finished for text in texts)


def judge_nats(judge: Pipeline, texts: Sequence[Generated]) -> float:
    """Nats/token of the texts, given their prompts, under the causal pass of another checkpoint."""
    limit = judge.model.config.context_length - 2
    encoded = [judge.tokenizer.encode(text.text)[:limit] for text in texts]
    own = [text._replace(ids=ids, tokens=len(ids)) for text, ids in zip(texts, encoded, strict=True)]
    return -math.log(by_likelihood(judge, own)["likelihood"])


def unigram_entropy(texts: Sequence[Generated]) -> float:
    """Bits of the distribution of single tokens over all texts."""
    counts = Counter(token for text in texts for token in text.ids)
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def distinct_ngrams(texts: Sequence[Generated], n: int = 3) -> float:
    """Percentage of the n-grams of all texts that differ from the others."""
    grams = [tuple(text.ids[i : i + n]) for text in texts for i in range(len(text.ids) - n + 1)]
    return 100 * len(set(grams)) / max(1, len(grams))


def distinct_texts(texts: Sequence[Generated]) -> float:
    """Percentage of texts that differ from the others."""
    return 100 * len({text.text for text in texts}) / max(1, len(texts))
