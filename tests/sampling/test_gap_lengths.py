"""What a gap is filled with: the likeliest length, the prompt's part in it, spaces, ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sunfish.config import GenerationConfig
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Generated, Pipeline
from tests.helpers import CONFIG

WARM = GenerationConfig(sampler="leftmost", num_steps=3, temperature=1.5)


def likelihood(pipeline: Pipeline, filled: Generated, prompt: str) -> float:
    return float(pipeline.log_likelihood(pipeline.row(filled), pipeline.encode([prompt])))


def test_the_likeliest_length_is_kept(pipeline: Pipeline) -> None:
    """One gap: against filling it at each of its lengths, by the likelihood of the whole text."""

    prompt = "Write about dogs"

    def score(text: str) -> float:
        (filled,) = infill(pipeline, text, WARM, prompt=prompt, seed=2)
        return likelihood(pipeline, filled, prompt)

    fixed = [score(f"The dog [MASK:{length}] home.") for length in (2, 3, 4)]
    assert score("The dog [MASK:2-4] home.") == max(fixed)


def test_gaps_are_settled_one_after_the_other(drawn_pipeline: Pipeline) -> None:
    """Each at its likeliest length, given the lengths chosen before it and the middle ones of those after it."""
    config, chosen = replace(WARM, num_steps=1, guidance_scale=1.0), set()

    def fill(first: object, second: object, seed: int) -> Generated:
        text = f"a[MASK:{first}]dog[MASK:{second}]."
        (filled,) = infill(drawn_pipeline, text, config, prompt="dogs", seed=seed)
        return filled

    def score(filled: Generated) -> float:
        return likelihood(drawn_pipeline, filled, "dogs")

    for seed in range(6):
        first = max((2, 3, 4, 5), key=lambda length: score(fill(length, 5, seed)))
        second = max((4, 5, 6), key=lambda length: score(fill(first, length, seed)))
        assert fill("2-5", "4-6", seed) == fill(first, second, seed)
        chosen.add((first, second))
    assert len(chosen) > 2


def test_the_length_is_chosen_by_what_the_prompt_makes_likely(drawn_pipeline: Pipeline) -> None:
    """Of drafts that the prompt has no part in (scale 0), another prompt chooses others."""
    config, prompts, chosen = replace(WARM, guidance_scale=0.0), ("dogs", "a king", ""), set()
    for seed in range(5):
        drafts = [infill(drawn_pipeline, f"the [MASK:{n}].", config, seed=seed)[0] for n in (4, 5, 6)]
        for prompt in prompts:
            best = max(drafts, key=lambda draft: likelihood(drawn_pipeline, draft, prompt))
            (filled,) = infill(drawn_pipeline, "the [MASK:4-6].", config, prompt=prompt, seed=seed)
            assert filled == best._replace(prompt=prompt)
            chosen.add((seed, filled.text))
    assert len(chosen) > 5  # somewhere the prompt decides


def test_a_given_space_is_not_doubled_and_no_other_one_is_lost(drawn_pipeline: Pipeline) -> None:
    """The ids before a gap lack one space before it; where the gap begins with one, it is not written twice."""
    encode, decode = drawn_pipeline.tokenizer.encode, drawn_pipeline.tokenizer.decode
    config, last, fills = replace(WARM, num_steps=1, temperature=50.0), encode(" home."), []
    for before in ("the dog ", "the dog  ", "un", ""):
        known = encode(before.removesuffix(" "))
        text, seed = f"{before}[MASK:2] home.", len(before)
        for filled in infill(drawn_pipeline, text, config, num_samples=40, seed=seed):
            gap = filled.ids[len(known) : len(known) + 2]
            assert filled.ids == [*known, *gap, *last] and filled.tokens == len(filled.ids)
            fill = decode(gap)
            fills.append((before.endswith(" "), fill.startswith(" "), fill.endswith(" ")))
            while before.endswith(" ") and fill.startswith(" "):
                fill = fill[1:]
            assert filled.text == f"{before}{fill} home."
    for spaced in (True, False):
        assert (spaced, True, False) in fills and (spaced, False, True) in fills


def test_without_any_prompt_there_is_nothing_to_guide_by(drawn_pipeline: Pipeline) -> None:
    """Neither the scale nor plausibility has an effect; a negative or a further prompt alone has."""

    def write(**values: Any) -> list[str]:
        config = replace(WARM, num_steps=6, **values)
        return [filled.text for filled in infill(drawn_pipeline, "the [MASK:9].", config, num_samples=3)]

    plain = write(guidance_scale=1.0)
    assert write(guidance_scale=7.0, plausibility=0.9) == plain
    assert write(guidance_scale=7.0, plausibility=0.0, negative_prompt="a king") != plain
    assert write(guidance_scale=1.0, composed_prompts=(("a king", 9.0),)) != plain


def test_a_gap_holds_no_end_mark_and_samples_are_numbered(drawn_pipeline: Pipeline) -> None:
    """Hot enough to draw every id; the prompt is told, and each sample is the next one of the same seed."""
    config = replace(WARM, temperature=50.0, guidance_scale=1.0)
    texts = infill(drawn_pipeline, "a [MASK:16].", config, prompt="dogs", num_samples=12, seed=3)
    assert {token for text in texts for token in text.ids} == set(range(1, CONFIG.vocab_size))
    assert {(text.prompt, text.finished) for text in texts} == {("dogs", True)}
    assert len({text.text for text in texts}) == 12
    assert infill(drawn_pipeline, "a [MASK:16].", config, prompt="dogs", num_samples=3, seed=3) == texts[:3]
