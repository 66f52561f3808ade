"""What the canvas fills a gap with: the likeliest length, the prompt's part in it, spaces, ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from sunfish.config import GenerationConfig
from sunfish.sampling.infilling import Infilled, infill
from sunfish.sampling.pipeline import Pipeline
from tests.helpers import CONFIG

WARM = GenerationConfig(sampler="leftmost", num_steps=3, temperature=1.5)


def row(pipeline: Pipeline, filled: Infilled) -> torch.Tensor:
    end = pipeline.tokenizer.end
    return torch.tensor([[end, *filled.ids, end]])


def likelihood(pipeline: Pipeline, filled: Infilled, prompt: str) -> float:
    return float(pipeline.log_likelihood(row(pipeline, filled), pipeline.encode([prompt])))


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

    def fill(first: object, second: object, seed: int) -> Infilled:
        text = f"a[MASK:{first}]dog[MASK:{second}]."
        (filled,) = infill(drawn_pipeline, text, config, prompt="dogs", seed=seed)
        return filled

    def score(filled: Infilled) -> float:
        return likelihood(drawn_pipeline, filled, "dogs")

    for seed in range(4):
        first = max((2, 3, 4, 5), key=lambda length: score(fill(length, 5, seed)))
        second = max((4, 5, 6), key=lambda length: score(fill(first, length, seed)))
        assert fill("2-5", "4-6", seed) == fill(first, second, seed)
        chosen.add((first, second))
    assert len(chosen) > 1


def test_the_length_is_chosen_by_what_the_prompt_makes_likely(drawn_pipeline: Pipeline) -> None:
    """Of drafts that the prompt has no part in (scale 0), another prompt chooses others."""
    config, prompts, chosen = replace(WARM, guidance_scale=0.0), ("dogs", "a king", ""), set()
    for seed in range(2):
        drafts = [infill(drawn_pipeline, f"the [MASK:{n}].", config, seed=seed)[0] for n in (4, 5, 6)]
        for prompt in prompts:
            best = max(drafts, key=lambda draft: likelihood(drawn_pipeline, draft, prompt))
            (filled,) = infill(drawn_pipeline, "the [MASK:4-6].", config, prompt=prompt, seed=seed)
            expected = likelihood(drawn_pipeline, best, prompt)
            assert filled == best._replace(prompt=prompt, log_likelihood=expected)
            chosen.add((seed, filled.text))
    assert len(chosen) > 2  # somewhere the prompt decides


def test_a_given_space_is_not_doubled_and_no_other_one_is_lost(pipeline: Pipeline) -> None:
    """The ids before a gap lack one space before it; where the gap begins with one, it is not written twice."""
    encode, decode = pipeline.tokenizer.encode, pipeline.tokenizer.decode
    config, last, fills = replace(WARM, num_steps=1, temperature=50.0), encode(" home."), []
    for before in ("the dog ", "the dog  ", "un", ""):
        known = encode(before.removesuffix(" "))
        text, seed = f"{before}[MASK:2] home.", len(before)
        for filled in infill(pipeline, text, config, num_samples=8, seed=seed):
            gap = filled.ids[len(known) : len(known) + 2]
            assert filled.ids == [*known, *gap, *last] and filled.tokens == len(filled.ids)
            assert filled.fills == [decode(gap)]
            fill = filled.fills[0]
            fills.append((before.endswith(" "), fill.startswith(" ")))
            assert filled.text == f"{before}{fill.removeprefix(' ') if before.endswith(' ') else fill} home."
    assert set(fills) == {(True, True), (True, False), (False, True), (False, False)}


def test_where_a_space_is_a_token_the_text_is_that_of_the_ids(drawn_pipeline: Pipeline) -> None:
    """Then the space before a gap is given, and a gap may begin with another one."""
    config, seen = replace(WARM, num_steps=1, temperature=50.0), set()
    for before in ("the dog ", "the dog  ", "un", ""):
        for filled in infill(
            drawn_pipeline, f"{before}[MASK:2] home.", config, num_samples=12, seed=len(before)
        ):
            assert filled.text == drawn_pipeline.tokenizer.decode(filled.ids)
            assert filled.text == f"{before}{filled.fills[0]} home."
            seen.add((before.endswith(" "), filled.fills[0].startswith(" ")))
    assert seen == {(True, True), (True, False), (False, True), (False, False)}


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
    assert {text.prompt for text in texts} == {"dogs"}
    assert len({text.text for text in texts}) == 12
    assert infill(drawn_pipeline, "a [MASK:16].", config, prompt="dogs", num_samples=3, seed=3) == texts[:3]
