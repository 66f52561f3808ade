"""Laws of every reader: what was written comes back, the rest is counted, and no bytes break it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sunfish.data.sources.files import FileSource
from sunfish.data.sources.files.records import damage, stripped
from tests.data.sources.files import write

LAW = settings(deadline=None, max_examples=50)
SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv")
WORDS = st.text("ab é\u2028\u0085\v\f\x1c\ufeff狐🦊", min_size=1, max_size=8)
JSON_LETTERS = 'ab\0\x1f\\"\n é\u2028\ufeff狐🦊{}'
DAMAGE = (b"\xff", b"\0", b'"', b",", b"\t", b"\r", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b"{", b"\\")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws")


def read(path: Path, **options: str) -> tuple[list[str], int]:
    """All texts in order (none is held out), and the number of things that were left out."""
    source = FileSource(path, **options)
    try:
        found = [document.example.text for document in source._read("train", threshold=0)]
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        found = []
    return found, sum(source.report().skips.counts.values())


def kept(texts: list[str]) -> list[str]:
    return [stripped(text) for text in texts if not damage(text) and stripped(text)]


@given(texts=st.lists(st.text(JSON_LETTERS, max_size=9), max_size=8), ascii_only=st.booleans())
@LAW
def test_every_line_of_json_comes_back_or_is_counted(
    folder: Path, texts: list[str], ascii_only: bool
) -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=ascii_only) for text in texts]
    path = write(folder / "a.jsonl", "".join(line + "\n" for line in [*lines, '{"text": "last"}']))
    found, left_out = read(path)
    assert found == [*kept(texts), "last"]
    assert len(found) + left_out == len(texts) + 1


@given(
    paragraphs=st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=5),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    blank=st.sampled_from(["", " ", "\t", "\xa0", "\u3000", "\ufeff", "\f"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
@LAW
def test_every_paragraph_comes_back(
    folder: Path, paragraphs: list[list[str]], line_end: str, blank: str, encoding: str
) -> None:
    lines = [line_end.join(f"x{line}x" for line in paragraph) for paragraph in paragraphs]
    content = f"{line_end}{blank}{line_end}".join([*lines, "last"])
    found, left_out = read(write(folder / "a.txt", content.encode(encoding)))
    assert found == [*(line.replace(line_end, "\n") for line in lines), "last"]
    assert not left_out


@given(
    texts=st.lists(st.text("ab\n é狐\ufeff", max_size=8), max_size=6),
    delimiter=st.sampled_from(["<|end|>", "\\n---\\n", "\\x1e", "|", "\\u2028", "\\f"]),
)
@LAW
def test_every_delimited_document_comes_back(folder: Path, texts: list[str], delimiter: str) -> None:
    between = delimiter.encode().decode("unicode_escape")
    content = between.join([*(f"x{text}x" for text in texts), "last"])
    found, left_out = read(write(folder / "a.txt", content), delimiter=delimiter)
    lines = [re.sub("\n\ufeff+", "\n", f"x{text}x") for text in texts]
    assert found == [*lines, "last"]
    assert not left_out


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(cuts=st.lists(st.tuples(st.integers(0, 400), st.sampled_from(DAMAGE), st.integers(0, 3)), max_size=6))
@LAW
def test_no_bytes_break_a_reader(folder: Path, suffix: str, cuts: list[tuple[int, bytes, int]]) -> None:
    rows = [
        {"text": f'Text {i}, "über" 狐狸\n{i}', "label": "x"} if suffix == ".jsonl" else f"text {i}\tx,y"
        for i in range(12)
    ]
    lines = [json.dumps(row, ensure_ascii=False) if isinstance(row, dict) else row for row in rows]
    content = "\n".join(["text\tlabel", *lines]).encode()
    for position, damaged, length in cuts:
        content = content[:position] + damaged + content[position + length :]
    found, left_out = read(write(folder / f"a{suffix}", content), text_field="text")
    assert all(damage(text) is None and stripped(text) == text for text in found)
    assert found or left_out or suffix in (".csv", ".tsv")  # a header of another name is wrong use


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(content=st.binary(max_size=60))
@LAW
def test_arbitrary_bytes_are_read_or_refused(folder: Path, suffix: str, content: bytes) -> None:
    found, _ = read(write(folder / f"a{suffix}", content))
    assert all(damage(text) is None for text in found)
