"""Stop strings: which is the first, what of a growing text is sure, and where texts end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sunfish.config import GenerationConfig
from sunfish.sampling.generated import Generated
from sunfish.sampling.pipeline import Pipeline
from sunfish.sampling.stop import StopStrings
from sunfish.utils import UsageError

LETTERS = st.text("ab", max_size=12)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3)


@given(LETTERS, STOPS)
def test_the_first_is_the_one_that_is_complete_first(text: str, stops: list[str]) -> None:
    """Letter by letter: the text is looked at after each, and ends before the longest that it then ends with."""
    expected = None
    for end in range(len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            expected = (end - len(longest), longest)
            break
    assert StopStrings(stops).find(text) == expected


@given(LETTERS, STOPS, st.data())
def test_what_is_sure_only_grows_and_ends_with_the_text(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    """However the text comes: in the end it is cut, and before that nothing is shown that any rest could take back."""
    strings = StopStrings(stops)
    found = strings.find(text)
    cut = text if found is None else text[: found[0]]
    sure = ""
    for end in sorted({*data.draw(st.sets(st.integers(0, len(text)))), len(text)}):
        now = strings.sure(text[:end])
        assert now.startswith(sure) and cut.startswith(now)
        sure = now
    held = cut[len(sure) :]
    assert not held or any(stop.startswith(held) for stop in stops)


@given(LETTERS, st.text("ab", min_size=1, max_size=4))
def test_no_more_is_held_back_than_has_to_be(text: str, stop: str) -> None:
    """Whatever is held back, the rest of the stop string takes back."""
    strings = StopStrings([stop])
    sure = strings.sure(text)
    if strings.find(text) is None:
        held = text[len(sure) :]
        assert stop.startswith(held) and len(held) < len(stop)
        assert strings.find(text + stop[len(held) :]) == (len(sure), stop)


def test_a_stop_string_that_is_longer_than_the_text() -> None:
    """However much longer: no part of it is compared that the text has no room for."""
    stops = StopStrings(["ab" * 500_000])
    assert [stops.sure(text) for text in ("", "ab", "xaba", "aab")] == ["", "", "x", "a"]


@pytest.mark.parametrize(
    "stop,message",
    [
        ("ab", r"stop is 'ab'; give a list of texts"),
        (5, r"stop is 5; give a list of texts"),
        (["a", ""], r"stop\[1\] is empty, which would end every text"),
        ([5], r"stop\[0\] is 5; give text"),
        (["\ud800"], r"stop\[0\] has a lone surrogate"),
    ],
)
def test_what_is_no_stop_string_is_refused(stop: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StopStrings(stop)  # type: ignore[arg-type]


def test_a_stop_string_may_straddle_tokens(pipeline: Pipeline) -> None:
    """The ids are the fewest that have the text, so the last of them may reach into the stop string."""
    tokenizer = pipeline.tokenizer
    ids = tokenizer.encode("The little dog went home.")
    pieces = [tokenizer.decode([i]) for i in ids]
    number = next(n for n in range(1, len(ids)) if len(pieces[n - 1]) > 1 and len(pieces[n]) > 1)
    stop, before = pieces[number - 1][-1] + pieces[number][0], "".join(pieces[:number])[:-1]
    text = pipeline.decode(ids, "", stops=StopStrings([stop]))
    assert text == Generated(before, "", True, number, ids[:number], stop)
    assert pipeline.row(text).tolist() == [[tokenizer.end, *ids[:number]]]  # no end mark that nobody wrote
    whole = pipeline.decode(ids, "", stops=StopStrings(["lion"]))
    assert whole == Generated("The little dog went home.", "", False, len(ids), ids)


def test_a_stop_string_after_the_end_or_under_masks_is_none(pipeline: Pipeline) -> None:
    tokenizer, mask = pipeline.tokenizer, pipeline.model.config.vocab_size
    ids = tokenizer.encode("The dog")
    stops = StopStrings(["dog", "#"])
    ended = pipeline.decode([*tokenizer.encode("The"), tokenizer.end, *ids], "", stops=stops)
    assert (ended.text, ended.finished, ended.stop) == ("The", True, "")
    masked = pipeline.decode([mask, *ids], "", "?", stops)
    assert (masked.text, masked.finished, masked.stop, masked.tokens) == (
        "?The ",
        False,
        "dog",
        len(masked.ids) - 1,
    )


@pytest.mark.parametrize("sampler", ["verified", "leftmost"])
def test_nothing_is_written_after_all_texts_have_stopped(pipeline: Pipeline, sampler: str) -> None:
    """A batch ends with its slowest text; each is the one that it is alone."""
    config = GenerationConfig(sampler=sampler, temperature=1.5, block_length=4, guidance_scale=1.0)
    prompts = ["Write about dogs", "Write about a cat", ""]
    together = pipeline.generate(prompts, config, seed=2, stop=["e"])
    assert together == pipeline.generate(prompts, config, seed=2, batch_size=1, stop=["e"])
    assert all("e" not in text.text for text in together) and sum(text.stop == "e" for text in together) > 1
    alone = [
        list(pipeline.states(p, config, seed=2, number=n, stop=["e"]))[-1] for n, p in enumerate(prompts)
    ]
    lengths = [(state.settled, len(text.ids)) for state, text in zip(alone, together, strict=True)]
    assert all(length - written <= 4 for length, written in lengths)  # a block


def test_best_of_counts_a_stopped_text_as_finished(pipeline: Pipeline) -> None:
    config, finished_first = GenerationConfig(temperature=1.5), 0
    for seed in range(6):
        drafts = pipeline.generate(["Write about dogs"] * 3, config, seq_len=9, seed=seed, stop=["s"])
        (best,) = pipeline.generate(["Write about dogs"], config, seq_len=9, seed=seed, best_of=3, stop=["s"])
        stopped = [draft for draft in drafts if draft.finished]
        assert best == max(stopped or drafts, key=pipeline.prompt_pmi)
        finished_first += bool(stopped) and len(stopped) < 3
    assert finished_first
