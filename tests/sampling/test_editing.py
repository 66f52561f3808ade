"""Rewriting: which words, what is refused, that the rest stays, and that the new texts differ and come in order."""

from __future__ import annotations

import pytest
import torch

from sunfish.config import GenerationConfig
from sunfish.sampling.editing import MAX_ROUNDS, Span, check_spans, find_spans, gaps_at, rewrite
from sunfish.sampling.pipeline import Pipeline
from sunfish.utils import UsageError

TEXT = "the dog ran to the king."


def test_words_are_found_where_they_stand() -> None:
    assert find_spans(TEXT, ["king", "dog ran"]) == [(19, 23), (4, 11)]
    assert [TEXT[start:end] for start, end in find_spans(TEXT, ["the dog", "."])] == ["the dog", "."]


@pytest.mark.parametrize(
    "words, message",
    [
        ("the", "stands 2 times in the text; give more of the words around it"),
        ("cat", "is not in the text; copy it"),
        ("Dog", "is not in the text"),
        ("", "is not in the text"),
    ],
)
def test_words_that_are_not_there_once_are_named(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        find_spans(TEXT, ["dog", words])
    assert repr(words) in str(error.value)


def test_spans_are_sorted_and_may_touch() -> None:
    assert check_spans(TEXT, [(8, 11), (0, 4), (4, 8)]) == [(0, 4), (4, 8), (8, 11)]
    assert check_spans(TEXT, [(0, len(TEXT))]) == [(0, len(TEXT))]


@pytest.mark.parametrize(
    "spans, message",
    [
        ([], "nothing is to be replaced"),
        ([(0, 25)], r"range 0:25 is not one of this text, which has 24 characters"),
        ([(-1, 3)], r"range -1:3 is not one"),
        ([(5, 5)], r"range 5:5 is not one"),
        ([(7, 5)], r"range 7:5 is not one"),
        ([(8, 11), (4, 9)], r"range 8:11 overlaps the one that ends at 9; join the two"),
        ([(4, 9), (4, 9)], r"range 4:9 overlaps"),
    ],
)
def test_spans_that_cannot_be_are_named(drawn_pipeline: Pipeline, spans: list[Span], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_spans(TEXT, spans)
    with pytest.raises(UsageError, match=message):
        rewrite(drawn_pipeline, TEXT, spans)


def test_a_gap_has_room_for_twice_the_old_words_and_some_more(drawn_pipeline: Pipeline) -> None:
    """As far as the context of 24 goes, which gaps share: a character is a token here."""
    gaps = gaps_at(drawn_pipeline, "abcd", [(1, 3)])
    assert (gaps.pieces, gaps.lengths) == (["a", "d"], [range(1, 13)])
    gaps = gaps_at(drawn_pipeline, "abcdefghikl", [(0, 3), (5, 6)])  # 24 - 2 - 11 = 11 to spare, 5 each
    assert (gaps.pieces, gaps.lengths) == (["", "de", "ghikl"], [range(1, 9), range(1, 7)])


@pytest.mark.parametrize("spans", [[(4, 7)], [(0, 3), (15, 18)], [(21, 22)], [(0, 2), (2, 4)]])
def test_the_rest_comes_back_byte_for_byte(drawn_pipeline: Pipeline, spans: list[Span]) -> None:
    """Different texts, none of them the old one, the likeliest first, with the likelihood that they have."""
    text = "the dog ran to a king."
    warm = GenerationConfig(guidance_scale=1.0, temperature=3.0)
    texts = rewrite(drawn_pipeline, text, spans, "dogs", warm, seed=1, n=4)
    assert len({new.text for new in texts}) == len(texts) == 4 and text not in {new.text for new in texts}
    pieces = [
        text[end:start]
        for (_, end), (start, _) in zip([(0, 0), *spans], [*spans, (len(text), 0)], strict=True)
    ]
    for new in texts:
        parts = [part for pair in zip(pieces, [*new.fills, ""], strict=True) for part in pair]
        assert new.text == "".join(parts) == drawn_pipeline.tokenizer.decode(new.ids)
        assert all(new.fills) and new.prompt == "dogs"
    condition, end = drawn_pipeline.encode(["dogs"]), drawn_pipeline.tokenizer.end
    for new in texts:
        exact = drawn_pipeline.log_likelihood(torch.tensor([[end, *new.ids, end]]), condition)
        assert new.log_likelihood == pytest.approx(float(exact), abs=1e-4)
    likelihoods = [new.log_likelihood for new in texts]
    assert likelihoods == sorted(likelihoods, reverse=True) and len(set(likelihoods)) > 1


def test_the_old_text_is_never_among_the_new_ones(drawn_pipeline: Pipeline) -> None:
    """Though it is the likeliest: each likeliest text, rewritten, gives others."""
    config = GenerationConfig(guidance_scale=1.0, temperature=0.3)
    text = "ab."
    for _ in range(2):
        texts = [new.text for new in rewrite(drawn_pipeline, text, [(1, 2)], "dogs", config, n=4)]
        assert text not in texts and texts
        text = texts[0]


def test_as_many_texts_as_there_are(pipeline: Pipeline, drawn_pipeline: Pipeline) -> None:
    """Where the model is sure, fewer; at least ``n`` are compared, whatever ``num_particles`` says."""
    assert len(rewrite(drawn_pipeline, TEXT[:12], [(4, 7)], n=12, num_particles=1)) > MAX_ROUNDS
    sure = GenerationConfig(guidance_scale=1.0, top_p=0.001)
    assert len(rewrite(pipeline, "The dog ran home.", [(4, 7)], "dogs", sure, n=16)) < 16


def test_a_seed_rewrites_alike(pipeline: Pipeline) -> None:
    first = rewrite(pipeline, "The dog ran home.", [(4, 7)], "dogs", seed=1, n=2)
    assert first == rewrite(pipeline, "The dog ran home.", [(4, 7)], "dogs", seed=1, n=2)
    assert first != rewrite(pipeline, "The dog ran home.", [(4, 7)], "dogs", seed=2, n=2)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"config": GenerationConfig(sampler="leftmost")}, "sampler is leftmost, but texts are rewritten"),
        ({"n": 0}, "^n is 0"),
        ({"n": 65}, "^n is 65"),
        ({"num_particles": 0}, "^num_particles is 0"),
        ({"seed": -1}, "^seed is -1"),
        ({"prompt": 5}, "^prompt "),
    ],
)
def test_arguments_that_are_wrong_are_named(
    drawn_pipeline: Pipeline, values: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        rewrite(drawn_pipeline, TEXT, [(4, 7)], **values)  # type: ignore[arg-type]
