"""Filling gaps: how they are found, that each has its length, that the given words stay, what is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sunfish.config import GenerationConfig, ProcessConfig
from sunfish.config.generation import FILLING
from sunfish.processes import build_process
from sunfish.sampling.gaps import Gaps, parse
from sunfish.sampling.infilling import infill
from sunfish.sampling.pipeline import Pipeline
from sunfish.tokenizers import build_tokenizer
from sunfish.utils import UsageError
from tests.helpers import CONFIG, model

WARM = GenerationConfig(sampler="leftmost", num_steps=3, temperature=1.5)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("a [MASK] b", (["a ", " b"], [range(1, 33)])),
        ("[MASK:5]", (["", ""], [range(5, 6)])),
        ("x [MASK:2-12] y [MASK:3].", (["x ", " y ", "."], [range(2, 13), range(3, 4)])),
    ],
)
def test_gaps_are_found(text: str, expected: tuple[list[str], list[range]]) -> None:
    assert parse(text) == Gaps(*expected)


@pytest.mark.parametrize(
    "text", ["a [MASK:x]", "a [MASK:]", "a [MASK:0]", "a [MASK:5-3]", "a [MASK:-1]", "no gap"]
)
def test_gaps_without_a_length_are_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"no length|no \[MASK\]"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a [MASK",
            "a [MASK: b",
            "[MASK:5 b",
            "[MASK 5]",
            "a [MASK] and [MASK",
            "[MASK:3\n]",
            "[MASK\uff1a5]",
        ),
        *(
            "[MASK:1_0]",
            "[MASK:+5]",
            "[MASK:²]",
            "[MASK:½]",
            "[MASK:2--3]",
            "[MASK:2-]",
            "[MASK:1e3]",
            "[MASK:NaN]",
        ),
        *(
            "[mask]",
            "\uff3bMASK\uff3d",
            "MASK",
            "[MASKS]",
            "[MASK:" + "9" * 6000 + "]",
            "[MASK:" + "x" * 6000 + "]",
        ),
    ],
)
def test_what_is_no_gap_is_named_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"write \[MASK\]|no \[MASK\]") as caught:
        parse(text)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["3", " 3 ", "03", "٣", "३", "\uff13", "๓"])
def test_the_digits_of_every_script_count(number: str) -> None:
    expected = Gaps(["a", "b", ""], [range(3, 4), range(3, 13)])
    assert parse(f"a[MASK:{number}]b[MASK:{number} - 12]") == expected


@given(
    st.lists(st.text(st.characters(exclude_characters="[")), min_size=2, max_size=5),
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=4, max_size=4),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_whatever_stands_outside_gaps_is_kept(pieces: list[str], sizes: list[tuple[int, int]]) -> None:
    sizes = sizes[: len(pieces) - 1]
    gaps = [f"[MASK:{low}-{low + more}]" for low, more in sizes]
    text = "".join(part for pair in zip(pieces, [*gaps, ""], strict=True) for part in pair)
    assert parse(text) == Gaps(pieces, [range(low, low + more + 1) for low, more in sizes])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "हाथी[MASK:1]देखी।",
            "ช้าง[MASK:1]กับนก",
            "昨天[MASK:1]还有[MASK:1][MASK:1]了",
            "고양이[MASK:1]를 봤다.",
        ),
        *(
            "ذهب [MASK:1] إلى المدينة.",
            "昨日、[MASK:1]を見た。",
            "un[MASK:1]able",
            "  [MASK:1]  ",
            "\t[MASK:1]\r\n\r\n",
        ),
        *(
            "\ufeffa [MASK:1]\u00a0b",
            "cafe\u0301 [MASK:1] café",
            "👩\u200d👧[MASK:1]🇩🇪",
            "[MASK:1] [MASK:1]",
            "[MASK:1]",
        ),
        *("\u0301[MASK:1]\u0301", "a\u2028[MASK:1]\x00b", "<|endoftext|> [MASK:1] [MASKS] <pad>"),
    ],
)
@pytest.mark.parametrize("config", [replace(WARM, num_steps=1), FILLING], ids=["canvas", "posterior"])
def test_the_given_text_comes_back_byte_for_byte(
    pipeline: Pipeline, text: str, config: GenerationConfig
) -> None:
    (filled,) = infill(pipeline, text, config, prompt="cafe\u0301", num_particles=3)
    rest = filled.text
    for number, piece in enumerate(parse(text).pieces):
        place = rest.find(piece) if number else 0
        assert rest[place:].startswith(piece)
        rest = rest[place + len(piece) :]
    assert filled.text.endswith(parse(text).pieces[-1])


@pytest.mark.parametrize(
    "text", ["a [MASK:99999999] b", "[MASK:2-999999999]", "[MASK:60] and [MASK:60]", "a " * 99 + "[MASK]"]
)
def test_a_text_without_room_is_refused_before_it_is_drafted(pipeline: Pipeline, text: str) -> None:
    with pytest.raises(
        UsageError, match=r"has [\d,]+ tokens, end marks included, .* context of 96; shorten it"
    ):
        infill(pipeline, text, WARM)


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


def test_samples_differ_and_a_seed_fills_alike(pipeline: Pipeline) -> None:
    text = "The dog [MASK:4] home."
    first = infill(pipeline, text, WARM, num_samples=3)
    assert len({filled.text for filled in first}) > 1
    assert infill(pipeline, text, WARM, num_samples=3) == first
    assert infill(pipeline, text, WARM, num_samples=3, seed=1) != first


def test_without_settings_the_posterior_fills_without_guidance(pipeline: Pipeline) -> None:
    default = GenerationConfig(sampler="verified", guidance_scale=1.0, temperature=0.7)
    assert default == FILLING
    filled = infill(pipeline, "a [MASK:3] b", prompt="dogs", seed=3)
    assert filled == infill(pipeline, "a [MASK:3] b", default, prompt="dogs", seed=3)
    assert filled[0].effective_sample_size is not None


CHANGES: dict[str, Any] = {
    "sampler": "confidence",
    "num_steps": 1,
    "temperature": 0.5,
    "top_p": 0.1,
    "top_k": 1,
    "min_p": 0.9,
    "repetition_penalty": 5.0,
    "guidance_scale": 0.0,
    "plausibility": 0.9,
    "negative_prompt": "Describe the ocean",
    "composed_prompts": (("Describe the ocean", 2.0),),
}


@pytest.fixture(scope="module")
def write(pipeline: Pipeline) -> Callable[[GenerationConfig], list[str]]:
    """The texts of a configuration, which are written once."""

    @functools.cache
    def texts(config: GenerationConfig) -> list[str]:
        filled = infill(pipeline, "The dog [MASK:12] home.", config, prompt="Write about dogs", num_samples=3)
        return [text.text for text in filled]

    return texts


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_shows_in_the_gap(write: Callable[[GenerationConfig], list[str]], field: str) -> None:
    base = replace(WARM, num_steps=6, plausibility=0.01)
    if field == "repetition_penalty":  # which the canvas does not have
        base = replace(FILLING, temperature=1.0)
    assert write(replace(base, **{field: CHANGES[field]})) != write(base)


def test_settings_of_other_loops_have_no_part_in_it(pipeline: Pipeline) -> None:
    """The whole text is one block; ``lenience`` is for drafts, of which gaps have none."""
    text = "The dog [MASK:6] home."
    assert infill(pipeline, text, replace(WARM, block_length=4)) == infill(pipeline, text, WARM)
    others = replace(FILLING, block_length=4, lenience=0.5)
    assert infill(pipeline, text, others) == infill(pipeline, text)
    unnamed = {field.name for field in fields(GenerationConfig)} - set(CHANGES)
    assert unnamed == {"block_length", "lenience"}


@pytest.mark.parametrize("kind", ["bytes", "characters"])
@pytest.mark.parametrize("text", ["a [MASK:2] b", " [MASK] [MASK:1-2]", "[MASK:2]b  [MASK:1]", "ab[MASK:3]"])
def test_where_each_letter_is_a_token_the_text_is_that_of_its_ids(kind: str, text: str) -> None:
    size = 300 if kind == "bytes" else CONFIG.vocab_size
    tokenizer = build_tokenizer(kind, size, [" abcdefghiklmnoprstuw."])
    network = model(torch.float32, replace(CONFIG, vocab_size=size))
    written = Pipeline(network, build_process(ProcessConfig(process="masked"), size), tokenizer)
    for filled in infill(written, text, num_samples=3, num_particles=4):
        pieces = parse(text).pieces
        assert filled.text == tokenizer.decode(filled.ids)
        parts = [part for pair in zip(pieces, [*filled.fills, ""], strict=True) for part in pair]
        if kind == "characters":  # bytes of a fill alone may be no letter
            assert filled.text == "".join(parts)
        assert filled.text.startswith(pieces[0]) and filled.text.endswith(pieces[-1])
        assert filled.tokens == len(filled.ids)


def test_an_open_end_is_written_until_the_text_ends(drawn_pipeline: Pipeline) -> None:
    """Greedily, it is what the causal mode finds likeliest, token by token; warm, it depends on the seed."""
    greedy = replace(FILLING, temperature=0.0)
    filled = infill(drawn_pipeline, "the dog [MASK]", greedy, prompt="dogs")[0]
    tokenizer, ids = drawn_pipeline.tokenizer, [drawn_pipeline.tokenizer.end]
    ids += tokenizer.encode("the dog ")
    condition, start = drawn_pipeline.encode(["dogs"]), len(ids)
    with torch.no_grad():
        while len(ids) < drawn_pipeline.model.config.context_length - 1:
            logits = drawn_pipeline.model.prefill(torch.tensor([ids]), condition)[0][0, -1, : tokenizer.size]
            if len(ids) == start:
                logits[tokenizer.end] = -torch.inf  # a gap has one token at the least
            ids.append(int(logits.argmax()))
            if ids[-1] == tokenizer.end:
                ids.pop()
                break
    assert filled.ids == ids[1:] and filled.text == "the dog " + filled.fills[0]
    warm = replace(FILLING, temperature=2.0)
    texts = {infill(drawn_pipeline, "the dog [MASK]", warm, seed=seed)[0].text for seed in range(4)}
    assert len(texts) > 1


def test_a_sampler_that_does_not_see_the_right_side_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(
        UsageError, match="sampler is corrected, which does not see what follows a gap; give verified"
    ):
        infill(pipeline, "The dog [MASK:2] home.", GenerationConfig(sampler="corrected"))


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("a [MASK:2] b", {}),
        ("a [MASK:2] b", {"guidance_scale": 0.0}),
        ("a [MASK:1-2] b", {"guidance_scale": 2.0, "negative_prompt": "kings"}),
        ("a [MASK:1-2] b", {"composed_prompts": (("kings", 0.5),)}),
        ("[MASK:1-4] dog", {"guidance_scale": 3.0}),
        ("a [MASK:1-3] b [MASK:1-2]c", {"guidance_scale": 2.0, "temperature": 1.5, "top_p": 0.9}),
        ("a [MASK:2][MASK:1-3] b", {"guidance_scale": 0.5, "repetition_penalty": 2.0}),
        ("the d[MASK]", {}),
        ("the [MASK:3]", {"sampler": "leftmost", "num_steps": 2}),
    ],
)
def test_the_likelihood_of_a_filled_text_is_that_of_one_pass(
    drawn_pipeline: Pipeline, text: str, changes: dict[str, Any]
) -> None:
    """However it was drawn: plain, given the prompt, of all that stands there."""
    config = replace(FILLING, **{"guidance_scale": 1.0, "plausibility": 0.0, **changes})
    condition, end = drawn_pipeline.encode(["dogs"]), drawn_pipeline.tokenizer.end
    for filled in infill(drawn_pipeline, text, config, prompt="dogs", seed=3, num_samples=3, num_particles=5):
        exact = drawn_pipeline.log_likelihood(torch.tensor([[end, *filled.ids, end]]), condition)
        assert filled.log_likelihood == pytest.approx(float(exact), abs=1e-4)


def test_the_likelihood_is_plain_where_the_network_has_learned_guidance(drawn_pipeline: Pipeline) -> None:
    network, tokenizer = model(torch.float32, guidance_conditioned=True), drawn_pipeline.tokenizer
    distilled = Pipeline(network, drawn_pipeline.process, tokenizer)
    condition, end = distilled.encode(["dogs"]), tokenizer.end
    for filled in infill(distilled, "a [MASK:2] b", replace(FILLING, guidance_scale=3.0), prompt="dogs"):
        exact = distilled.log_likelihood(torch.tensor([[end, *filled.ids, end]]), condition)
        assert filled.log_likelihood == pytest.approx(float(exact), abs=1e-4)


def test_a_damaged_network_is_named(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether NaN comes before the gap or after it."""
    prefill = pipeline.model.prefill
    for damaged in (0, -1):

        def broken(ids, *rest, damaged=damaged):  # type: ignore[no-untyped-def]
            logits, cache = prefill(ids, *rest)
            if ids.shape[1] > 1:
                logits[:, damaged] = torch.nan
            return logits, cache

        monkeypatch.setattr(pipeline.model, "prefill", broken)
        with pytest.raises(ValueError, match="NaN"):
            infill(pipeline, "abc [MASK:1] cdef", FILLING, prompt="dogs", num_particles=2)
