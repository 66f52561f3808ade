"""Time against quality: which settings are recommended, what the metrics say, what is measured."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from sunfish.config import GenerationConfig
from sunfish.data.stories.generate import story
from sunfish.sampling.autotune import (
    CANDIDATES,
    FAST_SECONDS,
    QUALITY_TOLERANCE,
    Measurement,
    by_likelihood,
    by_oracle,
    candidates,
    measure,
    pareto_front,
    recommend,
)
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline


def measurement(seconds: float, quality: float) -> Measurement:
    return Measurement(GenerationConfig(guidance_scale=seconds), seconds, quality, {})


def test_the_pareto_front_and_what_is_recommended() -> None:
    slow_best, close = measurement(3, 0.905), measurement(2, 0.90)
    fast, beaten = measurement(0.5, 0.7), measurement(0.8, 0.6)
    measurements = [slow_best, beaten, fast, close]
    assert pareto_front(measurements) == [fast, close, slow_best]
    assert recommend(measurements) == {"best": close.config, "fast": fast.config}
    assert recommend([slow_best]) == {"best": slow_best.config}
    near, alike = measurement(1.5, 0.88), measurement(2, 0.89)  # worse by more than what counts as alike
    assert recommend([*measurements, near])["best"] == close.config
    assert pareto_front([alike, close]) == [close]  # of two that take as long, the better one


def test_how_near_counts_as_alike_and_what_counts_as_fast() -> None:
    best, alike = measurement(3, 1.0), measurement(2, 1.0 - QUALITY_TOLERANCE)
    assert recommend([best, alike])["best"] == alike.config
    assert recommend([best, alike._replace(quality=0.989)])["best"] == best.config
    second, below = measurement(FAST_SECONDS, 0.9), measurement(FAST_SECONDS - 0.01, 0.5)
    assert "fast" not in recommend([best, second])
    assert recommend([best, second, below]) == {"best": best.config, "fast": below.config}
    assert recommend([]) == {}


def test_the_front_begins_with_the_fastest_however_bad() -> None:
    useless, better, equal = measurement(1, 0.0), measurement(2, 0.5), measurement(3, 0.5)
    assert pareto_front([equal, better, useless]) == [useless, better]


def test_the_first_text_is_not_measured() -> None:
    """One text is written before the clock runs; then each prompt by each setting, with seeds that count up."""
    calls: list[tuple[list[str], GenerationConfig | None, int]] = []

    def generate(prompts: list[str], config: GenerationConfig | None = None, *, seed: int) -> list[Generated]:
        calls.append((list(prompts), config, seed))
        return [Generated(prompt, prompt, True, 1, [1]) for prompt in prompts]

    pipeline = cast(Pipeline, SimpleNamespace(generate=generate))
    configs = candidates([1.0, 2.0], ({"block_length": 2},))
    judged: list[tuple[object, list[str]]] = []

    def metric(judge: Pipeline, texts: Sequence[Generated]) -> dict[str, float]:
        judged.append((judge, [text.text for text in texts]))
        return {"all": 0.5}

    measurements = list(measure(pipeline, ["a", "b"], configs, metric, seed=4))
    assert calls[0] == (["a"], None, 4)
    assert calls[1:] == [([p], c, seed) for c in configs for p, seed in (("a", 4), ("b", 5))]
    assert judged == [(pipeline, ["a", "b"])] * 2
    assert [(m.config, m.quality, m.parts) for m in measurements] == [(c, 0.5, {"all": 0.5}) for c in configs]
    calls.clear()
    list(measure(pipeline, ["a"], configs[:1], metric))
    assert [seed for _, _, seed in calls] == [0, 0]


def test_every_candidate_is_another_setting() -> None:
    configs = candidates([1.0, 3.0])
    assert len(set(configs)) == len(configs) == 2 * len(CANDIDATES)
    settings = ({"block_length": 3}, {"sampler": "leftmost", "num_steps": 3})
    assert candidates([2.0], settings) == [
        GenerationConfig(block_length=3, guidance_scale=2.0),
        GenerationConfig(sampler="leftmost", num_steps=3, guidance_scale=2.0),
    ]


def test_each_setting_is_measured_on_every_prompt(drawn_pipeline: Pipeline) -> None:
    """The quality is the product of the metric's parts; the texts are those of the setting and the seeds."""
    prompts = ["dogs", "a king"]
    settings = [{"sampler": "leftmost", "num_steps": steps, "block_length": 32} for steps in (1, 2)]
    configs = candidates([1.5], settings)
    seen: list[list[Generated]] = []

    def metric(_: Pipeline, texts: list[Generated]) -> dict[str, float]:
        seen.append(list(texts))
        return {"first": 0.5, "second": 0.25}

    measurements = list(measure(drawn_pipeline, prompts, configs, metric, seed=3))
    assert [m.config for m in measurements] == configs
    assert all(m.quality == 0.125 and m.seconds > 0 for m in measurements)
    for config, texts in zip(configs, seen, strict=True):
        expected = [drawn_pipeline.generate([p], config, seed=3 + i)[0] for i, p in enumerate(prompts)]
        assert texts == expected


def test_the_seconds_are_the_median_of_all_prompts(
    drawn_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 11.0, 20.0, 27.0, 30.0, 32.0])  # 1, 7 and 2 seconds
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    (one,) = measure(
        drawn_pipeline, ["a", "b", "c"], [GenerationConfig(block_length=2)], lambda *_: {"all": 1.0}
    )
    assert one.seconds == 2.0


def test_the_oracle_judges_grammar_and_constraints(pipeline: Pipeline) -> None:
    written = [story(1, "test", index) for index in range(3)]
    good = [Generated(one.text, one.prompt, True, 5, []) for one in written]
    assert by_oracle(pipeline, good) == {"grammar": 1, "constraints": 1}
    broken = [text._replace(text=text.text.replace(" the ", " the the ")) for text in good]
    assert by_oracle(pipeline, broken)["grammar"] < 0.9
    swapped = [
        text._replace(prompt=one.prompt) for text, one in zip(good, written[1:] + written[:1], strict=True)
    ]
    assert by_oracle(pipeline, swapped)["constraints"] < 0.9
    assert by_oracle(pipeline, []) == {"grammar": 0, "constraints": 0}


def test_the_likelihood_is_that_of_each_token(pipeline: Pipeline) -> None:
    texts = [
        Generated("", prompt, done, 3, ids)
        for prompt, done, ids in (("", False, [5, 6, 5]), ("A", True, [5, 6]))
    ]
    parts = by_likelihood(pipeline, texts)
    nothing = Generated("", "A", False, 0, [])  # has no token whose probability could count
    assert by_likelihood(pipeline, [*texts, nothing]) == parts
    assert by_likelihood(pipeline, [nothing]) == {"likelihood": 1.0, "distinct": 0.0}
    nats = 0.0
    for text in texts:
        ids = [pipeline.tokenizer.end, *text.ids, *[pipeline.tokenizer.end] * text.finished]
        for at in range(1, len(ids)):
            row = pipeline.row(Generated("", "", False, at - 1, ids[1:at]))
            logits, _ = pipeline.model.prefill(row, pipeline.encode([text.prompt]))
            nats += float(logits[0, -1, : pipeline.tokenizer.size].log_softmax(-1)[ids[at]].detach())
    assert parts["likelihood"] == pytest.approx(math.exp(nats / 6), rel=1e-4)
    assert parts["distinct"] == pytest.approx(2 / 3)  # 5 6, 6 5, and 5 6 again
