"""What is special about each kind of tokenizer, and how one is chosen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sunfish.tokenizers import END_OF_TEXT, TextTokenizer, build_tokenizer, tokenizer_kinds
from sunfish.utils import UsageError
from tests.packages import run_in_copy

TEXTS = ["the cat sat on the mat and the dog sat on the cat"] * 10


def test_kinds_are_the_files_of_the_folder() -> None:
    assert tokenizer_kinds() == ["bpe", "bytes", "characters"]


def test_a_file_that_is_added_is_found(tmp_path: Path) -> None:
    kind = """
from sunfish.tokenizers.bytes import build as build_bytes

def build(name, vocab_size, texts):
    assert list(texts) == ["learned from"]
    return build_bytes("bytes", vocab_size, [])
"""
    program = """
from sunfish.tokenizers import build_tokenizer, tokenizer_kinds, whole_corpus

print(build_tokenizer("letters", 300, ["learned from"]).size, whole_corpus("letters"), *tokenizer_kinds())
"""
    output = run_in_copy(tmp_path, {"tokenizers/letters.py": kind}, program)
    assert output == "257 False bpe bytes characters letters"


def test_an_unknown_kind_names_the_choices() -> None:
    with pytest.raises(UsageError, match=r"'bqe'.*bpe, bytes, characters.*tokenizer.json"):
        build_tokenizer("bqe", 300, TEXTS)
    with pytest.raises(UsageError, match="neither"):
        build_tokenizer("", 300, TEXTS)


def test_bpe_keeps_to_the_size_and_shortens_text() -> None:
    bpe = build_tokenizer("bpe", 280, TEXTS)
    assert 257 < bpe.size <= 280
    assert len(bpe.encode(TEXTS[0])) < len(TEXTS[0]) / 2
    # A poor corpus has no more pieces to offer.
    assert build_tokenizer("bpe", 100_000, TEXTS).size < 400


def test_bpe_does_not_depend_on_anything_but_its_texts() -> None:
    first, second = (build_tokenizer("bpe", 280, TEXTS).engine.to_str() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_a_vocabulary_without_room_for_bytes_is_an_error(kind: str) -> None:
    with pytest.raises(UsageError, match=r"vocab_size is 256.*257"):
        build_tokenizer(kind, 256, TEXTS)


def test_bytes_has_one_id_a_byte() -> None:
    tokenizer = build_tokenizer("bytes", 8192, [])
    assert tokenizer.size == 257
    for text in ("abc", "日本", "a b  c\n", "don't"):
        assert len(tokenizer.encode(text)) == len(text.encode())


def test_characters_has_one_id_a_character_and_refuses_others() -> None:
    tokenizer = build_tokenizer("characters", 8192, ["abc 日\n"])
    assert tokenizer.size == 7
    assert len(tokenizer.encode("cab\n日 ")) == 6
    with pytest.raises(ValueError, match=r"'x' \(U\+0078\) at position 2.*bpe or bytes"):
        tokenizer.encode("abx")
    assert build_tokenizer("characters", 4, ["aaabbc"]).decode([1, 2, 3]) == "abc"
    with pytest.raises(UsageError, match=r"vocab_size is 3, .*3 different characters; give --vocab_size 4,"):
        build_tokenizer("characters", 3, ["aaabbc"])
    with pytest.raises(ValueError, match="no characters"):
        build_tokenizer("characters", 3, [])


def test_a_vocabulary_without_end_mark_gets_one(tmp_path: Path) -> None:
    symbols = json.loads(build_tokenizer("bytes", 300, []).engine.to_str())["model"]["vocab"]
    symbols = {s: i for i, s in enumerate(sorted(set(symbols) - {END_OF_TEXT}))}
    (tmp_path / "vocab.json").write_text(json.dumps(symbols))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = build_tokenizer(str(tmp_path), 300, [])
    assert (tokenizer.size, tokenizer.end) == (257, 256)
    assert tokenizer.decode(tokenizer.encode("a b")) == "a b"


def test_a_folder_without_a_vocabulary_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("nothing")
    with pytest.raises(UsageError, match=r"holds readme.md; it needs tokenizer.json, or encoder.json"):
        build_tokenizer(str(tmp_path), 300, [])


def test_damaged_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not a readable tokenizer.json"):
        build_tokenizer(str(tmp_path / "tokenizer.json"), 300, [])
    with pytest.raises(UsageError, match="there is no tokenizer"):
        TextTokenizer.load(tmp_path / "absent.json")
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "encoder.json").write_text("[]")
    (tmp_path / "gpt2" / "vocab.bpe").write_text("")
    with pytest.raises(ValueError, match="no readable GPT-2 vocabulary"):
        build_tokenizer(str(tmp_path / "gpt2"), 300, [])


def gpt2_folder() -> Path | None:
    folder = os.environ.get("SUNFISH_GPT2_VOCABULARY")
    return Path(folder) if folder else None


@pytest.mark.skipif(
    gpt2_folder() is None, reason="set SUNFISH_GPT2_VOCABULARY to the folder of GPT-2's vocabulary"
)
def test_gpt2_vocabulary_gives_gpt2_ids() -> None:
    tokenizer = build_tokenizer(str(gpt2_folder()), 50_257, [])
    assert (tokenizer.size, tokenizer.end) == (50_257, 50_256)
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert tokenizer.encode("Hello, I'm a language model,") == [15496, 11, 314, 1101, 257, 3303, 2746, 11]
