"""From a prompt to a text: streams, calls, every setting, and what has to agree between them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sunfish.config import GenerationConfig
from sunfish.config.generation import LOOPS, VERIFIED
from sunfish.model.denoiser import DenoiserWrapper
from sunfish.model.transformer import Transformer
from sunfish.processes.masked import MaskedProcess
from sunfish.rng import make_generator
from sunfish.sampling.generated import Generated
from sunfish.sampling.generation_config import write_generation_config
from sunfish.sampling.guidance import ClassifierFreeGuidance, DistilledGuidance
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.unmasking import policies_for
from sunfish.tokenizers import build_tokenizer
from sunfish.utils import UsageError
from tests.ids import brief
from tests.tiny_checkpoint import CONFIG, write_checkpoint

PROMPT = "Write a story about a robot"
PROMPTS = [PROMPT, "Write about dogs", ""]

# Where each field is changed from, and to what: every change must show in the text.
DENOISED = GenerationConfig(
    sampler="leftmost", num_steps=6, temperature=1.0, guidance_scale=2.0, plausibility=0.01
)
CHECKED = GenerationConfig(temperature=1.0, guidance_scale=2.0, plausibility=0.01)
CHANGES: list[tuple[GenerationConfig, str, Any]] = [
    (DENOISED, "sampler", "confidence"),
    (DENOISED, "sampler", "verified"),
    (CHECKED, "sampler", "verified:1"),
    (DENOISED, "num_steps", 2),
    (DENOISED, "block_length", 4),
    (DENOISED, "block_length", 0),
    (CHECKED, "block_length", 3),
    (DENOISED, "temperature", 0.5),
    (CHECKED, "temperature", 0.5),
    (DENOISED, "top_p", 0.3),
    (CHECKED, "top_p", 0.3),
    (DENOISED, "top_k", 3),
    (CHECKED, "top_k", 3),
    (DENOISED, "min_p", 0.5),
    (CHECKED, "min_p", 0.5),
    (CHECKED, "repetition_penalty", 3.0),
    (CHECKED, "lenience", 0.1),
    (DENOISED, "guidance_scale", 0.0),
    (DENOISED, "guidance_scale", 1.0),
    (DENOISED, "guidance_scale", 4.0),
    (CHECKED, "guidance_scale", 4.0),
    (DENOISED, "plausibility", 0.5),
    (CHECKED, "plausibility", 0.5),
    (DENOISED, "negative_prompt", "Describe the ocean"),
    (CHECKED, "negative_prompt", "Describe the ocean"),
    (DENOISED, "composed_prompts", (("Describe the ocean", 2.0),)),
    (CHECKED, "composed_prompts", (("Describe the ocean", 2.0),)),
]


def texts(pipeline: Pipeline, config: GenerationConfig) -> list[str]:
    return [text.text for text in pipeline.generate(PROMPTS, config, seq_len=24, seed=1)]


@pytest.fixture(scope="module")
def written(pipeline: Pipeline) -> Callable[[GenerationConfig], list[str]]:
    """The texts of a configuration, which are written once."""
    return functools.cache(functools.partial(texts, pipeline))


@pytest.mark.parametrize("config,field,value", CHANGES, ids=brief)
def test_every_setting_shows_in_the_text(
    pipeline: Pipeline,
    written: Callable[[GenerationConfig], list[str]],
    config: GenerationConfig,
    field: str,
    value: Any,
) -> None:
    """In a call as in a batch."""
    changed = replace(config, **{field: value})
    assert written(changed) != written(config)
    single = pipeline.generate([PROMPT], changed, seq_len=8, seed=1)[0].text
    assert pipeline(PROMPT, seq_len=8, seed=1, **vars(config) | {field: value}) == single


def test_no_setting_is_left_out_of_the_table() -> None:
    assert {field for _, field, _ in CHANGES} == {field.name for field in fields(GenerationConfig)}


def test_a_setting_that_does_not_exist_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(TypeError, match="temprature"):
        pipeline(PROMPT, temprature=0.5)


def test_the_settings_of_a_checkpoint_are_used(tmp_path: Path) -> None:
    """Where a call does not say otherwise; what it says, it changes."""
    folder = write_checkpoint(tmp_path / "checkpoint")
    write_generation_config(folder, {"best": DENOISED})
    pipeline = Pipeline.from_checkpoint(folder)
    assert pipeline.generation_config == DENOISED
    assert pipeline.generate(PROMPTS, seq_len=24) == pipeline.generate(PROMPTS, DENOISED, seq_len=24)
    warm = replace(DENOISED, temperature=3.0)
    assert (
        pipeline(PROMPT, seq_len=24, temperature=3.0) == pipeline.generate([PROMPT], warm, seq_len=24)[0].text
    )


@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig(sampler="leftmost", block_length=4, guidance_scale=2.0),
        GenerationConfig(block_length=0, sampler="confidence", num_steps=5, guidance_scale=2.0),
        GenerationConfig(block_length=8, sampler="remask:0.5", num_steps=6, guidance_scale=2.0),
        GenerationConfig(block_length=4, sampler="verified", guidance_scale=2.0),
    ],
    ids=lambda config: config.sampler,
)
def test_a_stream_ends_with_the_text_and_shows_its_way(pipeline: Pipeline, config: GenerationConfig) -> None:
    states = list(pipeline.stream(PROMPT, config, seq_len=24, seed=5, mask="#"))
    assert states[-1] == pipeline.generate([PROMPT], config, seq_len=24, seed=5)[0]
    assert len(states) > 3
    if not config.is_verified:  # whose drafts are tokens
        assert any("#" in state.text for state in states)
    if config.block_length == 0:
        assert states[0].text == "" and states[1].text == "#" * 23 and states[1].tokens == 0
        assert [state.tokens for state in states] == sorted(state.tokens for state in states)


def test_a_stream_shows_each_state_once(pipeline: Pipeline) -> None:
    for sampler in ("verified", "leftmost", "remask:0.5"):
        config = GenerationConfig(sampler=sampler, num_steps=6, block_length=4)
        states = list(pipeline.stream(PROMPT, config, seq_len=24, seed=5))
        assert all(before != after for before, after in pairwise(states))


class Counting(DenoiserWrapper):
    """Counts the logits of a network that ends every text at once."""

    count = 0

    def finish(self, logits: Tensor, ids: Tensor | None = None) -> Tensor:
        self.count += 1
        ended = torch.full_like(logits, -torch.inf)
        ended[..., 0] = 0.0
        return ended


@pytest.mark.parametrize(("sampler", "logits"), [("leftmost", 1), ("verified", 3), ("verified:1", 1)])
def test_no_pass_follows_the_end_of_all_texts(drawn_pipeline: Pipeline, sampler: str, logits: int) -> None:
    """One block or round is enough: of ``verified`` a draft, alone and given its own tokens, and a check."""
    pipeline = Pipeline(drawn_pipeline.model, drawn_pipeline.process, drawn_pipeline.tokenizer)
    counting = Counting(pipeline.model)
    pipeline.denoiser = counting
    config = GenerationConfig(sampler=sampler, num_steps=1, block_length=4, guidance_scale=1.0)
    (text,) = pipeline.generate([""], config)
    assert text == Generated("", "", True, 0, [])
    assert counting.count == logits


def test_a_call_is_one_text(pipeline: Pipeline) -> None:
    text = pipeline(PROMPT, guidance_scale=2, steps=3, seed=5, seq_len=20, temperature=0.9)
    config = GenerationConfig(num_steps=3, sampler="leftmost", temperature=0.9, guidance_scale=2.0)
    same = pipeline.generate([PROMPT], config, seq_len=20, seed=5)
    assert text == same[0].text != pipeline(PROMPT, guidance_scale=2, steps=3, seed=6, seq_len=20)
    config = GenerationConfig(num_steps=3, sampler="confidence", block_length=0)
    named = pipeline(PROMPT, steps=3, sampler="confidence", block_length=0, seq_len=20)
    assert named == pipeline.generate([PROMPT], config, seq_len=20)[0].text


@pytest.mark.parametrize(
    "sampler", [*policies_for(MaskedProcess(3)), "threshold:0.2", "prefix:0.05", "entropy:6", *LOOPS]
)
def test_a_text_does_not_depend_on_the_batch(pipeline: Pipeline, sampler: str) -> None:
    """Also where the rows of a batch need different numbers of steps."""
    config = GenerationConfig(sampler=sampler, num_steps=6, temperature=0.9)
    together = pipeline.generate(PROMPTS, config, seq_len=16, seed=2)
    by_one = pipeline.generate(PROMPTS, config, seq_len=16, seed=2, batch_size=1)
    assert together == by_one


def test_prompt_pmi_is_the_gain_in_exact_likelihood(pipeline: Pipeline) -> None:
    """Against the likelihoods of the two prompts, each computed on its own."""
    text = pipeline.generate([PROMPT], seq_len=20)[0]
    end = pipeline.tokenizer.end
    ids = torch.tensor([[end, *text.ids] + [end] * text.finished])
    sums = []
    for prompt in (PROMPT, ""):
        with torch.no_grad():
            logits, _ = pipeline.model.prefill(ids[:, :-1], pipeline.encode([prompt]))
        logits = logits[..., : pipeline.tokenizer.size]
        sums.append(-float(F.cross_entropy(logits[0], ids[0, 1:], reduction="sum")))
    assert pipeline.prompt_pmi(text) == pytest.approx(sums[0] - sums[1], abs=1e-3)
    assert pipeline.prompt_pmi(text._replace(prompt="")) == pytest.approx(0, abs=1e-5)


def test_the_likelihood_is_that_of_the_texts_there_are(drawn_pipeline: Pipeline) -> None:
    """Over all texts of two letters of an alphabet of six, fewer than the model has rows, it sums to 1."""
    tokenizer = build_tokenizer("characters", 7, ["abcdef"])
    pipeline = Pipeline(drawn_pipeline.model, drawn_pipeline.process, tokenizer)
    ids = torch.tensor([[0, first, second] for first in range(7) for second in range(7)])
    condition = pipeline.encode(["bead"] * len(ids))
    total = pipeline.log_likelihood(ids, condition).logsumexp(0)
    assert float(total) == pytest.approx(0.0, abs=1e-5)


def test_prompts_may_have_a_tokenizer_of_their_own(drawn_pipeline: Pipeline) -> None:
    """Its ids are those of the prompts, and the other one's are those of the texts."""
    prompt_tokenizer = build_tokenizer("characters", CONFIG.model.vocab_size, ["xyzdogs"])
    pipeline = Pipeline(
        drawn_pipeline.model, drawn_pipeline.process, drawn_pipeline.tokenizer, prompt_tokenizer
    )
    ids = torch.tensor([prompt_tokenizer.encode("dogs")])
    with torch.no_grad():
        expected = pipeline.model.encode(ids, torch.ones_like(ids, dtype=torch.bool))
    assert torch.equal(pipeline.encode(["dogs"]).keys, expected.keys)
    text, usual = (one.generate(["dogs"], seq_len=12)[0] for one in (pipeline, drawn_pipeline))
    assert text.text == drawn_pipeline.tokenizer.decode(text.ids) != usual.text


def test_best_of_keeps_the_draft_that_answers_best(pipeline: Pipeline) -> None:
    prompts, config = PROMPTS[:2], GenerationConfig(temperature=1.0)
    best = pipeline.generate(prompts, config, seq_len=16, seed=4, best_of=3)
    drafts = pipeline.generate([p for p in prompts for _ in range(3)], config, seq_len=16, seed=4)
    for text, group in zip(best, (drafts[:3], drafts[3:]), strict=True):
        candidates = [draft for draft in group if draft.finished] or group
        assert text in candidates
        assert pipeline.prompt_pmi(text) == max(map(pipeline.prompt_pmi, candidates))
    for wrong, message in ((0, "best_of is 0"), (2, "how well texts fit a prompt")):
        with pytest.raises(UsageError, match=message):
            pipeline.generate([""], best_of=wrong)


def test_a_finished_draft_is_kept_before_one_that_answers_better(drawn_pipeline: Pipeline) -> None:
    config, unfinished_is_best = GenerationConfig(temperature=3.0, guidance_scale=1.0), 0
    for seed in range(4):
        drafts = drawn_pipeline.generate(["dogs"] * 4, config, seq_len=14, seed=seed)
        (kept,) = drawn_pipeline.generate(["dogs"], config, seq_len=14, seed=seed, best_of=4)
        scores = {drawn_pipeline.prompt_pmi(draft): draft for draft in drafts}
        finished = {score: draft for score, draft in scores.items() if draft.finished}
        assert kept == (finished or scores)[max(finished or scores)]
        unfinished_is_best += bool(finished) and max(finished) < max(scores)
    assert unfinished_is_best  # somewhere the rule decides


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"seq_len": 1}, "seq_len is 1, but a text has at least 2 positions"),
        ({"seq_len": 97, "best_of": 2}, "seq_len is 97, but best_of compares whole texts"),
    ],
)
def test_a_length_that_cannot_be_is_refused(
    pipeline: Pipeline, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        pipeline.generate([PROMPT], **arguments)


def test_a_prompt_beyond_the_room_for_it_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match=r"the prompt 'dogs dogs .* has room for 64 tokens; shorten it"):
        pipeline.generate(["dogs " * 80])


def test_a_text_may_be_longer_than_the_context(pipeline: Pipeline) -> None:
    config = GenerationConfig(sampler="leftmost", block_length=16, num_steps=2, temperature=3.0)
    context = pipeline.model.config.context_length
    (text,) = pipeline.generate([PROMPT], config, seq_len=2 * context, seed=1)
    assert len(text.ids) > context or text.finished
    assert list(pipeline.stream(PROMPT, config, seq_len=2 * context, seed=1))[-1] == text


def test_an_empty_negative_prompt_is_no_prompt(pipeline: Pipeline) -> None:
    def write(negative: str) -> str:
        config = GenerationConfig(
            negative_prompt=negative, temperature=1.0, plausibility=0.0, guidance_scale=4.0
        )
        return pipeline.generate([PROMPT], config, seq_len=20)[0].text

    assert write("") == pipeline(PROMPT, guidance_scale=4.0, seq_len=20, temperature=1.0, plausibility=0.0)
    assert write("Write about dogs") != write("")


def test_composed_prompts_swap_with_their_weights(pipeline: Pipeline) -> None:
    one, two = "Write about dogs", "Describe the ocean"

    def write(prompt: str, other: str, weight: float) -> str:
        config = GenerationConfig(sampler="leftmost", temperature=0.0, composed_prompts=((other, weight),))
        return pipeline.generate([prompt], config, seq_len=40)[0].text

    assert write(one, two, 1.0) == write(two, one, 1.0) and write(one, two, 4.0) == write(two, one, 0.25)


def test_ids_beyond_the_tokenizer_are_never_written(pipeline: Pipeline) -> None:
    """A model has as many rows as its size says; a small vocabulary leaves some of them without meaning."""
    size = pipeline.tokenizer.size
    config = replace(pipeline.model.config, vocab_size=size + 4000)
    model = Transformer(config).init_weights(make_generator("spare"))
    spare = Pipeline(model, MaskedProcess(size + 4000), pipeline.tokenizer)
    for sampler in ("leftmost", "verified"):
        settings = GenerationConfig(sampler=sampler, temperature=1.0, guidance_scale=2.0)
        for text in spare.generate(["Write"] * 3, settings, seq_len=12):
            assert text.tokens > 0 and max(text.ids) < size


def test_masked_ids_are_shown_and_what_follows_the_end_is_not(pipeline: Pipeline) -> None:
    tokenizer, mask = pipeline.tokenizer, pipeline.model.config.vocab_size
    ids = tokenizer.encode("The dog")
    shown = pipeline.decode([*ids, mask, mask, tokenizer.end, *ids], "", "#")
    assert shown == Generated("The dog##", "", False, len(ids), [*ids, mask, mask])
    whole = pipeline.decode([*ids, tokenizer.end, mask], "")
    assert whole == Generated("The dog", "", True, len(ids), ids)


def test_half_the_precision_says_nearly_the_same(checkpoint: Path, pipeline: Pipeline) -> None:
    half = Pipeline.from_checkpoint(checkpoint, precision="bfloat16")
    assert half.model.token_embedding.dtype == torch.bfloat16
    plain = GenerationConfig(guidance_scale=1.0)
    for text in pipeline.generate([PROMPT, "Write about a cat"], plain, seed=5, seq_len=40):
        row = pipeline.row(text)
        exact = pipeline.log_likelihood(row, pipeline.encode([text.prompt]))
        rounded = half.log_likelihood(row, half.encode([text.prompt]))
        assert rounded.item() == pytest.approx(exact.item(), rel=0.03)
    for sampler in (VERIFIED, "leftmost", "remask:0.5"):
        config = GenerationConfig(sampler=sampler, num_steps=4, guidance_scale=2.0)
        assert half.generate([PROMPT], config, seq_len=24)[0].tokens > 0
    (filled,) = infill(half, "The dog [MASK:3] home.", GenerationConfig(sampler="leftmost"))
    assert filled.text.startswith("The dog ") and filled.text.endswith(" home.")
    with pytest.raises(UsageError, match="precision is 'half'; give one of: float32, bfloat16"):
        Pipeline.from_checkpoint(checkpoint, precision="half")


def distilled_pipeline(pipeline: Pipeline) -> Pipeline:
    """The same weights, and an input of the guidance scale that is not zero."""
    model = Transformer(CONFIG.model, guidance_conditioned=True).init_weights(make_generator("one pass"))
    model.load_state_dict(pipeline.model.state_dict(), strict=False)
    assert model.guidance_embedding is not None
    torch.nn.init.normal_(model.guidance_embedding.weight, generator=make_generator("scale"))
    return Pipeline(model.eval(), MaskedProcess(400), pipeline.tokenizer)


def test_a_distilled_checkpoint_is_guided_in_one_pass(pipeline: Pipeline) -> None:
    """With negative or further prompts, and without guidance, it takes the usual passes."""
    distilled = distilled_pipeline(pipeline)
    assert isinstance(distilled.guided([PROMPT], GenerationConfig())[0], DistilledGuidance)
    for usual in (
        GenerationConfig(guidance_scale=1.0),
        GenerationConfig(guidance_scale=0.0),
        GenerationConfig(negative_prompt="dogs", plausibility=0.1),
        GenerationConfig(composed_prompts=(("dogs", 1.0),), guidance_scale=9.0),
    ):
        assert isinstance(distilled.guided([PROMPT], usual)[0], ClassifierFreeGuidance)
    warm = GenerationConfig(temperature=1.0)
    assert texts(distilled, warm) != texts(distilled, replace(warm, guidance_scale=1.5))


@pytest.mark.parametrize(
    "config,message",
    [
        (GenerationConfig(guidance_scale=5.0), "guidance_scale is 5, .* scales from 0 to 4"),
        (GenerationConfig(plausibility=0.1), "plausibility is 0.1, .* learned its guidance with 0.3"),
    ],
    ids=("scale", "plausibility"),
)
def test_what_a_distilled_checkpoint_did_not_learn_is_refused(
    pipeline: Pipeline, config: GenerationConfig, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        distilled_pipeline(pipeline).generate([PROMPT], config, seq_len=8)


def test_steps_are_refused_where_there_are_none(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="steps is 3, but sampler is verified, which has no denoising steps"):
        pipeline("", steps=3, sampler="verified")
