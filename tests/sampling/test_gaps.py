"""Gaps as ids: the space before a gap, the room that open gaps share, what is too long, and the text put together."""

from __future__ import annotations

import pytest

from sunfish.sampling.gaps import encode_gaps, parse
from sunfish.tokenizers import build_tokenizer
from sunfish.tokenizers.base import TextTokenizer
from sunfish.utils import UsageError

TEXTS = ["the cat sat on the mat and the dog sat on the cat"] * 10


@pytest.fixture(scope="module")
def letters() -> TextTokenizer:
    """Every character is a token."""
    return build_tokenizer("characters", 300, ["abc d"])


def test_only_bpe_has_ids_that_bring_a_space() -> None:
    kinds = {kind: build_tokenizer(kind, 300, TEXTS) for kind in ("bpe", "bytes", "characters")}
    assert {kind for kind, one in kinds.items() if one.spaced_ids} == {"bpe"}
    (the,) = kinds["bpe"].encode(" the")
    assert the in kinds["bpe"].spaced_ids and kinds["bpe"].end not in kinds["bpe"].spaced_ids
    texts = {number: kinds["bpe"].decode([number]) for number in range(kinds["bpe"].size)}
    assert kinds["bpe"].spaced_ids == [n for n, text in texts.items() if text[:1] == " " and text.strip(" ")]
    assert kinds["bpe"].encode(" ")[0] not in kinds["bpe"].spaced_ids


def test_the_space_before_a_gap_belongs_to_its_first_token() -> None:
    """Where tokens bring spaces; one space alone, and none after the last gap."""
    bpe, letters = (build_tokenizer(kind, 300, TEXTS) for kind in ("bpe", "characters"))
    text = parse("the cat [MASK:2] sat  [MASK:1]on[MASK:1] [MASK:1] ")
    encoded = encode_gaps(bpe, text, 96)
    assert encoded.spaced == [True, True, False, True]
    assert encoded.pieces == [bpe.encode(part) for part in ("the cat", " sat ", "on", "", " ")]
    encoded = encode_gaps(letters, text, 96)
    assert encoded.spaced == [False] * 4
    assert encoded.pieces == [letters.encode(part) for part in text.pieces]


def test_a_given_space_is_written_once() -> None:
    text = parse("the [MASK:1]on[MASK:1] [MASK:1].")
    bpe, letters = (
        encode_gaps(build_tokenizer(kind, 300, [*TEXTS, "."]), text, 96) for kind in ("bpe", "characters")
    )
    fills = [" cat", " the", " mat"]
    assert bpe.join(fills) == "the caton the mat."
    assert letters.join(fills) == "the  caton the  mat."
    assert bpe.join(["  cat", "", "mat"]) == "the  caton mat."
    with pytest.raises(ValueError, match="argument 2"):
        bpe.join(["cat"])


@pytest.mark.parametrize(
    "text, context, expected",
    [
        ("ab[MASK]", 96, [range(1, 33)]),
        ("ab[MASK]", 14, [range(1, 11)]),  # 14 - 2 end marks - 2 letters
        ("ab[MASK]", 5, [range(1, 2)]),
        ("[MASK][MASK]", 12, [range(1, 6), range(1, 6)]),
        ("[MASK][MASK]", 13, [range(1, 6), range(1, 7)]),
        ("[MASK][MASK:3]c[MASK]", 20, [range(1, 8), range(3, 4), range(1, 8)]),
        ("[MASK:2-9]c[MASK]", 15, [range(2, 10), range(1, 4)]),
        ("[MASK][MASK]", 1000, [range(1, 33), range(1, 33)]),
    ],
)
def test_open_gaps_share_the_room_that_is_left(
    letters: TextTokenizer, text: str, context: int, expected: list[range]
) -> None:
    encoded = encode_gaps(letters, parse(text), context)
    assert encoded.lengths == expected
    most = sum(map(len, encoded.pieces)) + sum(span[-1] for span in encoded.lengths)
    assert most + 2 <= context


@pytest.mark.parametrize(
    "text, tokens", [("ab[MASK]", 5), ("[MASK:3]", 5), ("[MASK:1-4]", 6), ("a[MASK][MASK:2]b", 7)]
)
def test_a_text_that_is_too_long_is_named_with_its_length(
    letters: TextTokenizer, text: str, tokens: int
) -> None:
    assert encode_gaps(letters, parse(text), tokens)
    with pytest.raises(UsageError, match=rf"has {tokens} tokens, .* context of {tokens - 1}; shorten it"):
        encode_gaps(letters, parse(text), tokens - 1)


def test_a_letter_that_the_vocabulary_lacks_is_named(letters: TextTokenizer) -> None:
    with pytest.raises(UsageError, match=r"the text .* cannot be encoded: character 'z'"):
        encode_gaps(letters, parse("a[MASK]z"), 96)


@pytest.mark.parametrize("number", ["0", "5-2", "1-", "many", "0-0"])
def test_a_gap_without_a_length_is_shown(number: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(f"the [MASK:{number}] sat")
    assert str(caught.value) == (
        f"the gap [MASK:{number}] has no length; write [MASK], [MASK:5] or [MASK:2-12]"
    )
