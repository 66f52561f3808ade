"""Which ids a text gets: merges by count, the end mark, letters in order, and long texts that may be interrupted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from sunfish.tokenizers import END_OF_TEXT, TextTokenizer, base, build_tokenizer


@pytest.mark.parametrize(
    "text, merged",
    [("ab ab ab", ["ab"]), ("abab cd", ["ab"]), ("xyzw", []), ("ab cd", []), ("aaa bcbcbc", ["bc"])],
)
def test_the_first_merge_is_of_the_pair_that_is_most_frequent(text: str, merged: list[str]) -> None:
    """No pair inside a word occurs twice in the texts without a merge; one more id is one merge."""
    learned = build_tokenizer("bpe", 258, [text])
    assert learned.size == 257 + len(merged)
    pieces = {learned.decode([i]) for i in learned.encode(text)}
    assert {piece for piece in pieces if len(piece) > 1} == set(merged)


@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters"])
def test_the_end_mark_is_the_first_id_and_only_it_prints_nothing(kind: str) -> None:
    tokenizer = build_tokenizer(kind, 300, ["abc"])
    assert tokenizer.end == 0 and tokenizer.unknown is None
    assert tokenizer.decode([0, *tokenizer.encode("ab"), 0, *tokenizer.encode("c"), 0]) == "abc"


def test_letters_are_numbered_by_their_code_points() -> None:
    assert build_tokenizer("characters", 9, ["cb", "éa", "日"]).encode("abcé日") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "vocabulary, end",
    [
        (["a", "</s>", END_OF_TEXT, "b"], 2),
        (["a", "[SEP]", "</s>", "b"], 2),
        (["a", "<eos>", "b", "[SEP]"], 1),
        (["a", "b"], 2),  # none is known: it becomes the last id
    ],
)
def test_the_first_known_mark_ends_texts(vocabulary: list[str], end: int) -> None:
    engine = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="a"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = TextTokenizer(engine)
    a, b = vocabulary.index("a"), vocabulary.index("b")
    assert (tokenizer.end, tokenizer.size, tokenizer.unknown) == (end, max(len(vocabulary), end + 1), a)
    assert tokenizer.encode("b a zyzzyva") == [b, a, a]
    assert tokenizer.decode([end, b, end]) == "b"


def test_long_texts_alone_are_encoded_where_ctrl_c_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    original = base.interruptible

    def interruptible(call: Callable[[], Any]) -> Any:
        calls.append(True)
        return original(call)

    tokenizer = build_tokenizer("characters", 9, ["ab"])
    monkeypatch.setattr(base, "interruptible", interruptible)
    monkeypatch.setattr(base, "LONG_TEXT", 10)
    for texts, long in (
        (["a" * 10], False),
        (["a" * 11], True),
        (["a" * 5, "b" * 5], False),
        (["a" * 6, "b" * 5], True),
    ):
        expected = [[1 if letter == "a" else 2 for letter in text] for text in texts]
        calls.clear()
        assert [encoding.ids for encoding in tokenizer.encodings(texts)] == expected
        assert bool(calls) is long
        calls.clear()
        assert [tokenizer.encode(text) for text in texts] == expected
        assert bool(calls) is any(len(text) > 10 for text in texts)


def test_a_prompt_that_both_forms_can_write_is_composed() -> None:
    """The sign of the unit is neither form: composed it is the letter, decomposed an A with a ring."""
    tokenizer = build_tokenizer("characters", 9, ["A\u00c5\u030a"])
    assert tokenizer.encode_prompt("\u212b") == tokenizer.encode("\u00c5") != tokenizer.encode("A\u030a")
