"""Published vocabularies that are damaged or hostile: one line each, whatever the library makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sunfish.tokenizers import TextTokenizer, build_tokenizer, check_tokenizer
from sunfish.tokenizers.pretrained import read
from sunfish.utils import UsageError

Vocabulary = dict[str, Any]


def published() -> Vocabulary:
    content: Vocabulary = json.loads(build_tokenizer("bpe", 300, ["the cat sat " * 20]).engine.to_str())
    return content


def written(folder: Path, content: Vocabulary | str) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def model(**fields: object) -> Callable[[Vocabulary], None]:
    return lambda content: content["model"].update(fields)


def ids(**tokens: object) -> Callable[[Vocabulary], None]:
    return lambda content: content["model"]["vocab"].update(tokens)


def part(**parts: object) -> Callable[[Vocabulary], None]:
    return lambda content: content.update(parts)


IN_PROCESS = {  # what reading the file tells
    "a merge of itself": lambda content: content["model"]["merges"].append(["zz", "zz"]),
    "a hole": ids(zz=900),
    "an enormous id": ids(zz=2**32 - 1),
    "an id above 32 bits": ids(zz=2**32),
    "a negative id": ids(zz=-1),
    "a fraction": ids(zz=1.5),
    "an id of two tokens": ids(zz=5),
    "an id of two tokens in place of another": lambda content: ids(a=content["model"]["vocab"]["b"])(content),
    "merges of numbers": model(merges=[1, 2]),
    "a list of tokens": model(vocab=["a"]),
    "no model": lambda content: content.pop("model"),
    "another version": part(version="9.9"),
    "a pattern that is none": part(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated", "invert": False}
    ),
}
STRIP = {"type": "Strip", "content": "a", "start": 10**12, "stop": 10**12}
IN_A_CHILD = {  # where the library panics, aborts or fills the memory
    "a damaged table of characters": part(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="}
    ),
    "a prefix longer than its tokens": model(continuing_subword_prefix="##########"),
    "a decoder beyond the text": part(decoder=STRIP),
    "pieces of no length": part(pre_tokenizer={"type": "FixedLength", "length": 0}),
    "no token": model(vocab={}, merges=[]),
}
NO_JSON = {
    "empty": "",
    "null": "null",
    "zeros": "\0" * 100,
    "deep": "[" * 100_000,
    "deep in a field": '{"added_tokens":' + "[" * 100_000,
    "an infinite number": "1e999",
    "cut": json.dumps(published())[:-20],
    "a list": "[]",
}


def check_message(error: ValueError, path: Path) -> None:
    message = str(error)
    assert str(path) in message and "\n" not in message and len(message) < 400 + len(str(path))


@pytest.mark.parametrize("damage", [*IN_PROCESS, *NO_JSON])
def test_what_reading_tells_is_one_line(damage: str, tmp_path: Path) -> None:
    content: Vocabulary | str = NO_JSON.get(damage) or published()
    if damage in NO_JSON:
        content = NO_JSON[damage]
    else:
        IN_PROCESS[damage](content)  # type: ignore[arg-type]
    path = written(tmp_path, content)
    with pytest.raises(ValueError) as caught:
        TextTokenizer.load(path)
    check_message(caught.value, path)


@pytest.mark.parametrize("damage", IN_A_CHILD)
def test_what_breaks_the_library_is_one_line_and_prints_nothing(
    damage: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = published()
    IN_A_CHILD[damage](content)
    path = written(tmp_path, content)
    with pytest.raises(ValueError) as caught:
        build_tokenizer(str(path), 300, [])
    check_message(caught.value, path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change",
    [
        model(dropout=0.5),
        part(post_processor={"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}),
        part(truncation={"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}),
        part(
            padding={
                **{"strategy": {"Fixed": 10**10}, "direction": "Right", "pad_to_multiple_of": None},
                **{"pad_id": 0, "pad_type_id": 0, "pad_token": "x"},
            }
        ),
    ],
)
def test_settings_of_training_have_no_part_in_encoding(
    change: Callable[[Vocabulary], None], tmp_path: Path
) -> None:
    content = published()
    change(content)
    tokenizer = TextTokenizer.load(written(tmp_path, content))
    encoded = [tokenizer.encode("the cat sat on a mat") for _ in range(5)]
    assert all(row == encoded[0] for row in encoded)
    assert tokenizer.decode(encoded[0]) == "the cat sat on a mat"


def test_a_vocabulary_larger_than_the_model_is_refused_by_its_size(tmp_path: Path) -> None:
    path = written(tmp_path, published())
    size = TextTokenizer.load(path).size
    check_tokenizer(str(path), size)
    with pytest.raises(UsageError, match=rf"has {size} ids, but vocab_size is 10; give --vocab_size {size}"):
        check_tokenizer(str(path), 10)


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


@pytest.mark.parametrize(
    "names, held",
    [
        ([], "nothing"),
        (["b.txt", "a.txt"], "a.txt, b.txt"),
        (
            [f"{number}.txt" for number in reversed(range(10))],
            "0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt, 6.txt, 7.txt",
        ),
        (["encoder.json", "merges.txt"], "encoder.json, merges.txt"),
        (["vocab.json", "vocab.bpe"], "vocab.bpe, vocab.json"),
    ],
)
def test_a_folder_without_a_vocabulary_lists_its_first_files(
    names: list[str], held: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"tokenizer is {str(tmp_path)!r}, a folder that holds {held}; it needs tokenizer.json, or encoder.json "
        "and vocab.bpe, or vocab.json and merges.txt"
    )


@pytest.mark.parametrize("vocabulary, merges", [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_a_vocabulary_is_read_from_its_file_its_folder_and_gpt2s_files(
    vocabulary: str, merges: str, tmp_path: Path
) -> None:
    content = {"<|endoftext|>": 0, "t": 1, "h": 2, "e": 3, "th": 4, "the": 5}
    (tmp_path / vocabulary).write_text(json.dumps(content))
    (tmp_path / merges).write_text("#version: 0.2\nt h\nth e\n")
    published = read(tmp_path)
    assert (published.size, published.end, published.encode("thehe")) == (6, 0, [5, 2, 3])
    folder = tmp_path / "other"
    folder.mkdir()
    published.save(folder / "tokenizer.json")
    for path in (folder, folder / "tokenizer.json"):
        assert read(path).encode("thehe") == [5, 2, 3]
    (folder / vocabulary).write_text("{}")  # tokenizer.json comes first
    (folder / merges).write_text("")
    assert read(folder).size == 6
