"""How a text is drawn: the distribution that each setting makes, against its formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import sunfish.sampling.speculative as speculative_module
from sunfish.config import GenerationConfig
from sunfish.model.transformer import Transformer
from sunfish.processes.masked import MaskedProcess
from sunfish.sampling.guidance import MAX_DISTILLED_SCALE, ClassifierFreeGuidance, DistilledGuidance
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers import build_tokenizer
from sunfish.types import Condition
from sunfish.utils import UsageError
from tests.helpers import CONFIG, model, process_of
from tests.settings.table import covers, spy

Patch = pytest.MonkeyPatch
LETTERS = "abcdefghijklmnop"
MASK = CONFIG.vocab_size
PLAIN = GenerationConfig(temperature=1.0, guidance_scale=2.0, plausibility=0.0, block_length=1)
UNCUT: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature": {"temperature": 0.4},
    "top_p": {"top_p": 0.6},
    "top_k": {"top_k": 5},
    "min_p": {"min_p": 0.4},
    "unguided": {"guidance_scale": 0.0},
    "conditional": {"guidance_scale": 1.0},
    "guided": {"guidance_scale": 3.5},
    "plausibility": {"plausibility": 0.4},
    "negative": {"negative_prompt": "pad"},
    "composed": {"composed_prompts": (("pal", 2.0), ("dog", 0.5))},
    "all": dict(
        temperature=0.7,
        top_p=0.8,
        top_k=9,
        min_p=0.1,
        guidance_scale=2.5,
        plausibility=0.2,
        negative_prompt="a",
    )
    | {"composed_prompts": (("hen", 3.0),)},
}


def pipeline_of(network: Transformer | None = None) -> Pipeline:
    """A network of float64 and an alphabet that leaves some of its ids spare."""
    return Pipeline(network or model(), process_of(), build_tokenizer("characters", 23, [LETTERS]))


def expected(
    pipeline: Pipeline, config: GenerationConfig, prompt: str, look: Any, banned: Sequence[int] = ()
) -> Tensor:
    """What ``look`` (from a condition to logits) comes to: by the definitions, branch by branch, in float64."""

    def logits(text: str) -> Tensor:
        seen: Tensor = look(pipeline.encode([text]))[..., : pipeline.tokenizer.size].double()
        seen[..., list(banned)] = -torch.inf
        return seen

    weights = [(prompt, 1.0), *config.composed_prompts]
    given = sum(weight * logits(text) for text, weight in weights) / sum(weight for _, weight in weights)
    assert isinstance(given, Tensor)
    without, scale = logits(config.negative_prompt), config.guidance_scale
    guided = given if scale == 1 else without if scale == 0 else (1 - scale) * without + scale * given
    guided[..., list(banned)] = -torch.inf
    chance = torch.softmax(given, -1)
    if scale > 1:
        guided = guided.masked_fill(chance < config.plausibility * chance.amax(-1, keepdim=True), -torch.inf)
    final = torch.softmax(guided / config.temperature, -1)
    for row in final.view(-1, final.shape[-1]):
        order = row.argsort(descending=True)
        row[order[config.top_k or len(row) :]] = 0
        row /= row.sum()
        count = int((row[order].cumsum(0) < config.top_p - 1e-12).sum()) + 1
        row[order[count:]] = 0
        row[row < config.min_p * row.max()] = 0
    return final / final.sum(-1, keepdim=True)


@covers(
    GenerationConfig,
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "guidance_scale",
    "plausibility",
    "negative_prompt",
    "composed_prompts",
)
@covers(ClassifierFreeGuidance, "denoiser", "scale", "plausibility", "negative", "composed")
@pytest.mark.parametrize("block_length", [1, 4])
@pytest.mark.parametrize("name", CHANGES)
@torch.no_grad()
def test_distribution_of_a_verified_token(monkeypatch: Patch, name: str, block_length: int) -> None:
    pipeline, config = pipeline_of(), replace(PLAIN, block_length=block_length, **CHANGES[name])
    accepted = spy(monkeypatch, speculative_module, "speculative_accept")
    drafts = spy(monkeypatch, speculative_module, "sample_draft")
    pipeline.generate(["cab"], config, seq_len=6)
    start = torch.tensor([[pipeline.tokenizer.end]])
    target = expected(pipeline, config, "cab", lambda c: pipeline.model.prefill(start, c)[0])
    torch.testing.assert_close(accepted[0]["target"][:, :1].double(), target, atol=1e-6, rtol=1e-4)
    assert bool(drafts) == (block_length > 1)


@covers(GenerationConfig, "repetition_penalty")
@pytest.mark.parametrize("sampler", ["verified", "verified:1"])
@torch.no_grad()
def test_penalty_for_what_the_text_has(monkeypatch: Patch, sampler: str) -> None:
    """Every place of every round, given the text and the draft before it."""
    pipeline = pipeline_of()
    config = replace(PLAIN, guidance_scale=1.0, block_length=4, sampler=sampler, repetition_penalty=1.75)
    rounds = spy(monkeypatch, speculative_module, "speculative_accept")
    (written,) = pipeline.generate(["cab"], config, seq_len=14, seed=2)
    text, repeats = [pipeline.tokenizer.end], 0
    for call in rounds:
        draft = call["draft_ids"][0].tolist()
        for place in range(len(draft) + 1):
            ids = torch.tensor([[*text, *draft[:place]]])
            logits = pipeline.model.prefill(ids, pipeline.encode(["cab"]))[0][
                0, -1, : pipeline.tokenizer.size
            ]
            seen = sorted(set(ids[0, 1:].tolist()))
            repeats += len(seen)
            logits[seen] = torch.where(logits[seen] < 0, logits[seen] * 1.75, logits[seen] / 1.75)
            torch.testing.assert_close(call["target"][0, place], torch.softmax(logits, -1))
        tokens, counts = call["return"]
        text += tokens[0, : int(counts)].tolist()
    assert text[1:14][: len(written.ids)] == written.ids and repeats > 10


@pytest.mark.parametrize("name", ["plain", "guided", "plausibility", "negative", "composed", "all"])
@torch.no_grad()
def test_distribution_of_a_draft(monkeypatch: Patch, name: str) -> None:
    """Guided as what verifies it, over a canvas of masks after the newest token; then warped as that is."""
    pipeline, config = pipeline_of(), replace(PLAIN, block_length=4, **CHANGES[name])
    drafts = spy(monkeypatch, speculative_module, "sample_draft")
    pipeline.generate(["cab"], config, seq_len=6)
    canvas, t = torch.tensor([[pipeline.tokenizer.end, MASK, MASK, MASK]]), torch.tensor([[0.0, 1, 1, 1]])

    def look(condition: Condition) -> Tensor:
        return pipeline.model.denoise(canvas, t, condition)

    shown = torch.softmax(drafts[0]["draft"].marginal_logits(1), -1).double()
    marginal = expected(pipeline, replace(config, **UNCUT), "cab", look)
    torch.testing.assert_close(shown, marginal[:, 1:], atol=1e-6, rtol=1e-4)
    tokens, probabilities = drafts[0]["return"]
    previous = torch.cat([canvas[:, :1], tokens[:, :-1]], dim=1)

    def given(condition: Condition) -> Tensor:
        hidden = pipeline.model.canvas_pass(canvas, t, condition)
        return pipeline.model.draft_logits(pipeline.model.start_draft(hidden), previous)

    torch.testing.assert_close(
        probabilities.double(), expected(pipeline, config, "cab", given), atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize("fills", [False, True], ids=["written", "filled"])
@pytest.mark.parametrize("name", CHANGES)
@torch.no_grad()
def test_distribution_of_a_denoised_token(monkeypatch: Patch, name: str, fills: bool) -> None:
    """In a new text, and in a gap, which never ends the text. The policy judges by what is neither warped nor cut."""
    pipeline = pipeline_of()
    config = replace(PLAIN, sampler="leftmost", num_steps=1, block_length=0, **CHANGES[name])
    steps, end = spy(monkeypatch, MaskedProcess, "step"), pipeline.tokenizer.end
    if fills:
        infill(pipeline, "ab[MASK:3]d", config, prompt="cab")
        x = torch.tensor(
            [[end, *pipeline.tokenizer.encode("ab"), MASK, MASK, MASK, *pipeline.tokenizer.encode("d"), end]]
        )
    else:
        pipeline.generate(["cab"], config, seq_len=6)
        x = torch.tensor([[end, MASK, MASK, MASK, MASK, MASK]])
    (step,) = steps
    assert torch.equal(step["x_t"], x) and (step["t"], step["s"]) == (1.0, 0.0)
    t = (x == MASK).double()

    def look(condition: Condition) -> Tensor:
        return pipeline.model.denoise(x, t, condition)

    banned = [end] if fills else []
    drawn = expected(pipeline, config, "cab", look, banned)
    torch.testing.assert_close(torch.softmax(step["logits"], -1).double(), drawn, atol=1e-6, rtol=1e-4)
    judged = expected(pipeline, replace(config, **UNCUT), "cab", look, banned)
    torch.testing.assert_close(torch.softmax(step["model_logits"], -1).double(), judged, atol=1e-6, rtol=1e-4)


@covers(DistilledGuidance, "denoiser", "scale")
@torch.no_grad()
def test_network_that_takes_the_scale_in(monkeypatch: Patch) -> None:
    """It is told the scale in every pass, and one scale is unlike another."""
    pipeline = pipeline_of(model(guidance_conditioned=True))
    accepted, start = spy(monkeypatch, speculative_module, "speculative_accept"), torch.tensor([[0]])
    for scale in (2.0, 3.0):
        config = replace(PLAIN, guidance_scale=scale, plausibility=GenerationConfig.plausibility)
        accepted.clear()
        pipeline.generate(["cab"], config, seq_len=2)
        told = pipeline.encode(["cab"])._replace(scale=torch.tensor([scale]))
        logits = pipeline.model.prefill(start, told)[0][..., : pipeline.tokenizer.size]
        torch.testing.assert_close(accepted[0]["target"], torch.softmax(logits, -1), atol=1e-9, rtol=1e-6)
        for call in ("draft", "denoise"):
            x, t = torch.tensor([[0, MASK]]), torch.tensor([[0.0, 1.0]])
            guided = DistilledGuidance(pipeline.model, scale)
            if call == "denoise":
                torch.testing.assert_close(
                    guided.denoise(x, t, pipeline.encode(["cab"])), pipeline.model.denoise(x, t, told)
                )
            else:
                one = guided.draft(x, t, pipeline.encode(["cab"]), None, 0).marginal_logits(1)
                torch.testing.assert_close(one, pipeline.model.draft(x, t, told, None, 0).marginal_logits(1))
    first, second = (
        pipeline.model.prefill(start, pipeline.encode(["cab"]).at_scale(scale))[0] for scale in (2.0, 3.0)
    )
    assert float((first - second).abs().max()) > 1e-3
    with pytest.raises(UsageError, match=r"guidance_scale is 4\.5, but this checkpoint learned guidance"):
        DistilledGuidance(pipeline.model, MAX_DISTILLED_SCALE + 0.5)
