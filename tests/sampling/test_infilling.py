"""Filling gaps: how they are found, that each has its length, that the given words stay, what is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from sunfish.config import GenerationConfig
from sunfish.sampling.infilling import infill, parse
from sunfish.sampling.pipeline import Pipeline
from sunfish.utils import UsageError

WARM = GenerationConfig(sampler="leftmost", num_steps=3, temperature=1.5)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("a [MASK] b", (["a ", " b"], [range(1, 7)])),
        ("[MASK:5]", (["", ""], [range(5, 6)])),
        ("x [MASK:2-12] y [MASK:3].", (["x ", " y ", "."], [range(2, 13), range(3, 4)])),
    ],
)
def test_gaps_are_found(text: str, expected: tuple[list[str], list[range]]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["a [MASK:x]", "a [MASK:]", "a [MASK:0]", "a [MASK:5-3]", "a [MASK:-1]", "no gap"]
)
def test_gaps_without_a_length_are_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"no length|no \[MASK\]"):
        parse(text)


def test_infill_fills_every_gap_with_its_length(pipeline: Pipeline) -> None:
    ends = 0
    for seed in range(5):
        (text,) = infill(pipeline, "The dog [MASK:3] and [MASK:2-4] home.", WARM, seed=seed)
        assert text.text.startswith("The dog ") and text.text.endswith(" home.") and " and " in text.text
        given = len(pipeline.tokenizer.encode("The dog and home."))
        assert given + 3 <= text.tokens <= given + 9  # pieces may be cut into a few tokens more
        ends += text.ids.count(pipeline.tokenizer.end)
    assert ends == 0  # an end mark would leave a gap shorter than asked for
    with pytest.raises(UsageError, match="this model has a context of 96"):
        infill(pipeline, "The dog [MASK:95] home.")


def test_the_likeliest_length_is_kept(pipeline: Pipeline) -> None:
    """One gap: against filling it at each of its lengths, by the likelihood of the whole text."""

    def likelihood(text: str) -> float:
        (filled,) = infill(pipeline, text, WARM, prompt="Write about dogs", seed=2)
        row = pipeline.row(filled)
        return float(pipeline.log_likelihood(row, pipeline.encode(["Write about dogs"])))

    fixed = [likelihood(f"The dog [MASK:{length}] home.") for length in (2, 3, 4)]
    assert likelihood("The dog [MASK:2-4] home.") == max(fixed)


def test_samples_differ_and_a_seed_fills_alike(pipeline: Pipeline) -> None:
    text = "The dog [MASK:4] home."
    first = infill(pipeline, text, WARM, num_samples=3)
    assert len({filled.text for filled in first}) > 1
    assert infill(pipeline, text, WARM, num_samples=3) == first != infill(pipeline, text, WARM, seed=1)


def test_without_settings_the_default_sampler_fills(pipeline: Pipeline) -> None:
    default = GenerationConfig(sampler=pipeline.process.default_sampler)
    assert infill(pipeline, "a [MASK:3] b") == infill(pipeline, "a [MASK:3] b", default)


CHANGES: dict[str, Any] = {
    "sampler": "confidence",
    "num_steps": 1,
    "temperature": 0.5,
    "top_p": 0.1,
    "guidance_scale": 0.0,
    "plausibility": 0.9,
    "negative_prompt": "Describe the ocean",
    "composed_prompts": (("Describe the ocean", 2.0),),
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_shows_in_the_gap(pipeline: Pipeline, field: str) -> None:
    def write(config: GenerationConfig) -> list[str]:
        filled = infill(pipeline, "The dog [MASK:12] home.", config, prompt="Write about dogs", num_samples=3)
        return [text.text for text in filled]

    base = replace(WARM, num_steps=6, plausibility=0.01)
    assert write(replace(base, **{field: CHANGES[field]})) != write(base)


def test_settings_of_other_loops_have_no_part_in_it(pipeline: Pipeline) -> None:
    """The whole text is one block, and ``lenience`` is for verified, which fills no gap."""
    text = "The dog [MASK:6] home."
    assert infill(pipeline, text, replace(WARM, block_length=4)) == infill(pipeline, text, WARM)
    with pytest.raises(UsageError, match=r"'verified'.*cannot fill a gap"):
        infill(pipeline, "a [MASK]", GenerationConfig(sampler="verified"))
    unnamed = {field.name for field in fields(GenerationConfig)} - set(CHANGES)
    assert unnamed == {"block_length", "lenience"}
