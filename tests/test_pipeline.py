"""From a prompt to a text: streams, calls, and what has to agree between them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sunfish.cli import main
from sunfish.pipeline import Pipeline
from sunfish.sampling import SamplingSettings
from tests.conftest import Workplace

PROMPT = "Write a story about a robot"


@pytest.fixture(scope="module")
def pipeline(trained: Workplace) -> Pipeline:
    return Pipeline.from_checkpoint(trained.checkpoint)


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(),
        SamplingSettings(block_length=0, sampler="confidence", num_steps=5),
        SamplingSettings(block_length=8, sampler="remask:0.5", num_steps=6),
        SamplingSettings(block_length=4, sampler="verified"),
    ],
)
def test_a_stream_ends_with_the_text_and_shows_its_way(
    pipeline: Pipeline, settings: SamplingSettings
) -> None:
    arguments = {"guidance_scale": 2.0, "seq_len": 24, "settings": settings, "seed": 3}
    states = list(pipeline.stream(PROMPT, **arguments, mask="#"))
    assert states[-1] == pipeline.generate([PROMPT], **arguments)[0]
    assert len(states) > 3
    if settings.sampler != "verified":  # whose drafts are tokens
        assert any("#" in state.text for state in states)
    if settings.block_length == 0:
        assert states[0].text == "#" * 23 and states[0].tokens == 0
        assert [state.tokens for state in states] == sorted(state.tokens for state in states)


def test_a_call_is_one_text(pipeline: Pipeline) -> None:
    text = pipeline(PROMPT, guidance_scale=2, steps=3, seed=5, seq_len=20, temperature=0.9)
    settings = SamplingSettings(num_steps=3, temperature=0.9)
    same = pipeline.generate([PROMPT], guidance_scale=2.0, seq_len=20, settings=settings, seed=5)
    assert text == same[0].text != pipeline(PROMPT, guidance_scale=2, steps=3, seed=6, seq_len=20)


@pytest.mark.parametrize("sampler", ["leftmost", "verified"])
def test_a_text_does_not_depend_on_the_batch(pipeline: Pipeline, sampler: str) -> None:
    settings = SamplingSettings(sampler=sampler)
    prompts = [PROMPT, "Write about dogs", ""]
    together = pipeline.generate(prompts, seq_len=16, settings=settings, seed=2)
    by_one = pipeline.generate(prompts, seq_len=16, settings=settings, seed=2, batch_size=1)
    assert together == by_one


def test_fit_is_the_gain_in_exact_likelihood(pipeline: Pipeline) -> None:
    """Against the likelihoods of the two prompts, each computed on its own."""
    text = pipeline.generate([PROMPT], seq_len=20)[0]
    end = pipeline.tokenizer.end
    ids = torch.tensor([[end, *pipeline.tokenizer.encode(text.text)] + [end] * text.finished])
    sums = []
    for prompt in (PROMPT, ""):
        with torch.no_grad():
            _, logits = pipeline.model.remember(ids[:, :-1], pipeline.encode([prompt]))
        sums.append(-float(F.cross_entropy(logits[0], ids[0, 1:], reduction="sum")))
    assert pipeline.fit(text) == pytest.approx(sums[0] - sums[1], abs=1e-3)
    assert pipeline.fit(text._replace(prompt="")) == pytest.approx(0, abs=1e-5)


def test_best_of_keeps_the_draft_that_fits_best(pipeline: Pipeline) -> None:
    prompts = [PROMPT, "Write about dogs"]
    settings = SamplingSettings(temperature=1.0)
    best = pipeline.generate(prompts, seq_len=16, settings=settings, seed=4, best_of=3)
    drafts = pipeline.generate([p for p in prompts for _ in range(3)], seq_len=16, settings=settings, seed=4)
    for text, group in zip(best, (drafts[:3], drafts[3:]), strict=True):
        assert text in group and pipeline.fit(text) == max(map(pipeline.fit, group))
    with pytest.raises(ValueError, match="best_of is 0"):
        pipeline.generate(prompts, best_of=0)


def test_verified_writing_fills_no_gap(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"'verified'.*cannot fill a gap"):
        pipeline.infill("a [MASK]", settings=SamplingSettings(sampler="verified"))
    with pytest.raises(ValueError, match="block_length is 0"):
        SamplingSettings(sampler="verified", block_length=0)


def test_an_empty_negative_prompt_is_no_prompt(pipeline: Pipeline) -> None:
    def write(negative: str) -> str:
        settings = SamplingSettings(negative_prompt=negative, temperature=1.0, plausibility=0.0)
        return pipeline.generate([PROMPT], guidance_scale=4.0, seq_len=20, settings=settings)[0].text

    assert write("") == pipeline(PROMPT, guidance_scale=4.0, seq_len=20, temperature=1.0, plausibility=0.0)
    assert write("Write about dogs") != write("")


def test_a_negative_prompt_without_effect_is_wrong_use(
    trained: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "sample",
        str(trained.checkpoint),
        "--prompt",
        PROMPT,
        "--seq_len",
        "8",
        "--negative_prompt",
        "x",
    ]
    assert main([*words, "--guidance_scale", "1"]) == 2
    assert "above 1" in capsys.readouterr().err
    assert main([*words, "--guidance_scale", "2"]) == 0


def test_watch_shows_the_states_and_prints_the_text(
    trained: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", str(trained.checkpoint), "--prompt", PROMPT, "--seq_len", "12", "--cpu"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--watch"]) == 0
    captured = capsys.readouterr()
    assert captured.out == text
    assert "▒▒▒" in captured.err and text.strip() in captured.err
    assert main([*words, "--watch", "--num_samples", "2"]) == 2
