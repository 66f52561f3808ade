"""What every tokenizer must obey: round trips, ids in range, a file that reads back, no forged end mark."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sunfish.tokenizers import END_OF_TEXT, TextTokenizer, build_tokenizer, tokenizer_kinds

SAMPLE = [
    "The harbour was quiet, and the keeper lit the lamp.\n\nNobody came.",
    "Größe, naïve, 日本語, e\u0301, \U0001f600 and\ttabs \x00 \r\n  two  spaces ",
    f"A text that writes {END_OF_TEXT} itself.",
    "the cat sat on the mat. " * 20,
]


@pytest.fixture(params=[*tokenizer_kinds(), "a saved file"], scope="module")
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    if request.param != "a saved file":
        return build_tokenizer(request.param, 400, SAMPLE)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    build_tokenizer("bpe", 400, SAMPLE).save(path)
    return build_tokenizer(str(path), 400, [])


def can_encode(tokenizer: TextTokenizer, text: str) -> bool:
    try:
        tokenizer.encode(text)
    except ValueError:
        return False
    return True


def test_decoding_returns_exactly_the_text(tokenizer: TextTokenizer) -> None:
    for text in [*SAMPLE, "", " ", "\n", SAMPLE[0][::-1]]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SPECIAL = [END_OF_TEXT, "[MASK]", "<pad>", "<s>", "</s>", "[UNK]", "[CLS]", "<|im_end|>", "\u2581", "Ġ"]
MANY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(ANY_TEXT)
@MANY
def test_any_text_comes_back_or_its_character_is_named(tokenizer: TextTokenizer, text: str) -> None:
    try:
        ids = tokenizer.encode(text)
    except ValueError as error:
        assert "U+" in str(error) and "\n" not in str(error) and tokenizer.size < 257
        return
    assert tokenizer.decode(ids) == text and tokenizer.end not in ids


@given(st.lists(st.sampled_from([*SPECIAL, *"the cat \n"]), max_size=12).map("".join))
@MANY
def test_special_tokens_spelled_in_a_text_are_text(tokenizer: TextTokenizer, text: str) -> None:
    if can_encode(tokenizer, text):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and tokenizer.end not in ids


@given(st.text(st.sampled_from("the cat sat\n\t ö日e\u0301\U0001f600"), max_size=60))
@MANY
def test_offsets_cover_the_text_in_order(tokenizer: TextTokenizer, text: str) -> None:
    if can_encode(tokenizer, text):
        (encoding,) = tokenizer.encodings([text])
        covered = 0
        for token, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            assert first <= covered <= last, (token, text)  # the bytes of a character share its place
            covered = last
        assert covered == len(text)


def test_random_unicode_round_trips_or_is_refused(tokenizer: TextTokenizer) -> None:
    rng = random.Random(0)
    for _ in range(200):
        ranges = (range(0x80), range(0xD800), range(0xE000, 0x110000))
        text = "".join(chr(rng.choice(rng.choice(ranges))) for _ in range(rng.randrange(12)))
        if can_encode(tokenizer, text):
            assert tokenizer.decode(tokenizer.encode(text)) == text
        else:
            assert tokenizer.size < 257, "a byte-level vocabulary covers every text"


def test_ids_lie_inside_the_vocabulary(tokenizer: TextTokenizer) -> None:
    ids = [i for text in SAMPLE for i in tokenizer.encode(text)]
    assert all(0 <= i < tokenizer.size for i in ids)
    assert 0 <= tokenizer.end < tokenizer.size


def test_every_id_decodes(tokenizer: TextTokenizer) -> None:
    for i in range(tokenizer.size):
        assert isinstance(tokenizer.decode([i]), str)


@pytest.mark.parametrize("offset", [0, 1, 10_000])
def test_an_id_outside_the_vocabulary_is_an_error(tokenizer: TextTokenizer, offset: int) -> None:
    wrong = tokenizer.size + offset
    with pytest.raises(ValueError, match=rf"{wrong}.*{tokenizer.size} ids"):
        tokenizer.decode([0, wrong])
    with pytest.raises(ValueError, match="-1"):
        tokenizer.decode([-1])


def test_text_cannot_forge_the_end_mark(tokenizer: TextTokenizer) -> None:
    assert tokenizer.end not in tokenizer.encode(f"before {END_OF_TEXT} after")
    assert tokenizer.decode(tokenizer.encode(END_OF_TEXT)) == END_OF_TEXT


def test_the_end_mark_prints_nothing(tokenizer: TextTokenizer) -> None:
    ids = [tokenizer.end, *tokenizer.encode("the cat"), tokenizer.end]
    assert tokenizer.decode(ids) == "the cat"


def test_a_saved_tokenizer_is_the_same(tokenizer: TextTokenizer, tmp_path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = TextTokenizer.load(tmp_path / "tokenizer.json")
    for restored in (loaded, copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert (restored.size, restored.end) == (tokenizer.size, tokenizer.end)
        assert [restored.encode(t) for t in SAMPLE] == [tokenizer.encode(t) for t in SAMPLE]


def test_batches_encode_like_single_texts(tokenizer: TextTokenizer) -> None:
    for offsets in (True, False):
        encodings = tokenizer.encodings(SAMPLE, offsets)
        assert [e.ids for e in encodings] == [tokenizer.encode(t) for t in SAMPLE]


def test_a_lone_surrogate_is_refused_by_name(tokenizer: TextTokenizer) -> None:
    for call in (tokenizer.encode, lambda text: tokenizer.encodings(["fine", text])):
        with pytest.raises(ValueError, match=r"surrogate U\+D800|U\+DC80"):
            call("the \ud800")
