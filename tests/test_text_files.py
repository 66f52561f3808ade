"""Text files that a user gives: every marked encoding reads alike, and what is no text is named."""

from __future__ import annotations

import codecs
import gzip
import os
import random
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sunfish.text_files import READ_CHARACTERS, read_text, text_blocks, text_lines, why_no_text

MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
TEXTS = {
    "Latin": "The fox sat\nby the hill.\n" * 9,
    "Chinese": "狐狸坐在山边。\n很高兴。\n" * 9,
    "Hindi": "लोमड़ी पहाड़ी के\nपास बैठी।\n" * 9,
    "emoji": "🦊 and 🐦‍⬛\n" * 9,
}
LINE_ENDS = ("\n", "\r\n", "\r")
# Letters at which other readers divide lines.
INNER = "a é\u2028\u2029\u0085\v\f\x1c\x1e\ufeff狐"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("encoding", MARKS)
def test_a_marked_text_reads_like_the_text(tmp_path: Path, encoding: str, text: str) -> None:
    path = write(tmp_path / "a", MARKS[encoding] + text.encode(encoding))
    assert read_text(path) == text == "".join(text_blocks(path))
    assert [line for _, line in text_lines(path)] == text.splitlines(keepends=True)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("encoding", list(MARKS)[1:])
def test_a_text_without_its_mark_is_named_with_the_remedy(tmp_path: Path, encoding: str, text: str) -> None:
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    path = write(tmp_path / "a", text.encode(encoding))
    with pytest.raises(ValueError, match=rf"a: file is {name} without .*: iconv -f {name} -t UTF-8$"):
        read_text(path)


@pytest.mark.parametrize("encoding", MARKS)
def test_joined_files_read_like_one(tmp_path: Path, encoding: str) -> None:
    part = MARKS[encoding] + "one\r\n".encode(encoding)
    path = write(tmp_path / "a", part * 3 + MARKS[encoding] + "in\ufeffside".encode(encoding))
    assert read_text(path) == "one\none\none\nin\ufeffside" == "".join(text_blocks(path))


def test_a_mark_where_two_reads_meet_is_dropped(tmp_path: Path) -> None:
    lines = ["a" * (READ_CHARACTERS - 1), "b" * (READ_CHARACTERS - 2), "c"]
    path = write(tmp_path / "a", "\n\ufeff".join(lines).encode())
    assert "".join(text_blocks(path)) == "\n".join(lines)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(INNER, max_size=5), st.sampled_from(LINE_ENDS)), max_size=8))
def test_lines_are_counted_as_an_editor_counts_them(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]]
) -> None:
    text = "".join(a + b for a, b in lines)
    path = write(tmp_path_factory.getbasetemp() / "lines", text.encode())
    joined = text.replace("\r\n", "\n").replace("\r", "\n")
    expected = [line.lstrip("\ufeff") for line in joined.split("\n")]
    assert read_text(path).split("\n") == expected == "".join(text_blocks(path)).split("\n")
    read = list(text_lines(path))
    assert [number for number, _ in read] == list(range(1, len(read) + 1))
    assert [line.removesuffix("\n") for _, line in read] == expected[: len(read)]
    assert "".join(expected[len(read) :]) == ""


NO_TEXTS = {
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "zip": b"PK\x03\x04\x14\0\0\0",
    "gzip": gzip.compress(b"The fox sat by the hill."),
    "PDF": b"%PDF-1.7\n",
    "binary": random.Random(0).randbytes(4000),
    "sqlite": b"SQLite format 3\0" + bytes(range(32)) * 40,
}


@pytest.mark.parametrize("kind", NO_TEXTS)
def test_what_is_no_text_is_named_in_one_line(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.txt", NO_TEXTS[kind])
    word = "binary" if kind == "sqlite" else kind
    with pytest.raises(ValueError, match=rf"a\.txt: file is .*{word}.*convert it to text$"):
        read_text(path)


@pytest.mark.parametrize(
    "content", [b"", b"The fox", "é".encode() * 99, b"caf\xe9 " * 99, b"a few\0 NULs in a text", b"\x1b[1mx"]
)
def test_texts_with_a_little_damage_are_texts(content: bytes) -> None:
    assert why_no_text(content) is None


@pytest.mark.parametrize(
    "content, fault",
    [
        (
            b"one\r\ncaf\xe9",
            r"a:2: bytes that are no UTF-8; save the file as UTF-8: iconv -f ENCODING -t UTF-8 ",
        ),
        (codecs.BOM_UTF16_LE + "one\ntwo\ud800".encode("utf-16-le", "surrogatepass"), r"a:2: .* no UTF-16"),
        (codecs.BOM_UTF16_LE + "one".encode("utf-16-le")[:-1], r"a:1: .* no UTF-16"),
        (b"one\rtwo\rth\0ree, and more of it", r"a:3: a NUL byte"),
    ],
)
def test_damage_is_named_with_its_line(tmp_path: Path, content: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_text(write(tmp_path / "a", content))


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = codecs.BOM_UTF16_LE + "one\ntwo".encode("utf-16-le")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    assert read_text(tmp_path / "pipe") == "one\ntwo"
    writer.join()


def test_a_pipe_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sunfish.text_files.MAX_CHARACTERS", 1000)
    os.mkfifo(tmp_path / "pipe")

    def write_until_nobody_reads() -> None:
        with suppress(BrokenPipeError), (tmp_path / "pipe").open("wb", buffering=0) as pipe:
            while True:
                pipe.write(b"The fox sat.\n" * 1000)

    writer = threading.Thread(target=write_until_nobody_reads)
    writer.start()
    with pytest.raises(ValueError, match=r"pipe: text has more than 1,000 characters; divide it$"):
        read_text(tmp_path / "pipe")
    writer.join()
    assert read_text(write(tmp_path / "a", b"x" * 1000)) == "x" * 1000


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev/zero")
def test_a_device_is_no_text() -> None:
    with pytest.raises(ValueError, match=r"^/dev/zero: file is binary, no text"):
        read_text(Path("/dev/zero"))
