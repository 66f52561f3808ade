"""Readers of plain text: delimiters and parts across the reads of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.data.sources.files import plain_text
from sunfish.data.sources.files.plain_text import (
    parse_delimiter,
    read_delimited,
    read_long_text,
    read_paragraphs,
)
from sunfish.text_files import READ_CHARACTERS
from sunfish.utils import UsageError
from tests.data.sources.files import write


def test_a_delimiter_across_reads_is_found(tmp_path: Path) -> None:
    size = READ_CHARACTERS - 3
    path = write(tmp_path / "a.txt", "a" * size + "<|end|>" + "b\n" * size + "<|end|>\n\nc")
    documents = list(read_delimited(path, "<|end|>"))
    summary = [(line, document[0], len(document)) for line, document in documents]
    assert summary == [(1, "a", size), (1, "b", 2 * size), (size + 3, "\n", 3)]


def test_a_long_text_in_parts_reassembles(tmp_path: Path) -> None:
    content = "some words that go on " * 200
    path = write(tmp_path / "a.txt", content)
    parts = [text for _, text in read_long_text(path, 10, 4000, part_characters=100)]
    assert "".join(parts) == content[10:4000]
    assert max(map(len, parts)) <= 100 and all(part[0] == " " for part in parts[1:])


@pytest.mark.parametrize(
    ("content", "first", "lines"),
    [
        ("\nab", 1, [2]),
        ("\n\nab", 1, [2]),
        ("a\nb", 2, [2]),
        ("ab", 0, [1]),
        ("\nab cd\nef", 0, [1, 2, 2]),
    ],
)
def test_a_part_says_in_which_line_it_begins(
    tmp_path: Path, content: str, first: int, lines: list[int]
) -> None:
    path = write(tmp_path / "a.txt", content)
    parts = list(read_long_text(path, first, len(content), part_characters=3))
    assert [line for line, _ in parts] == lines and "".join(text for _, text in parts) == content[first:]


@pytest.mark.parametrize(
    "spelling, delimiter",
    [
        ("", ""),
        ("\\n", "\n"),
        ("\\n\\n", "\n\n"),
        ("\\r\\n", "\n"),
        ("\r\n", "\n"),
        ("\\r", "\n"),
        ("\\t---\\n", "\t---\n"),
        ("\\x1e", "\x1e"),
        ("\\u2028", "\u2028"),
        ("\\f", "\f"),
        ("\\\\n", "\\n"),
        ("<|endoftext|>", "<|endoftext|>"),
    ],
)
def test_delimiters_are_spelled_out(spelling: str, delimiter: str) -> None:
    assert parse_delimiter(spelling) == delimiter


@pytest.mark.parametrize("spelling", ["\\q", "a\\", "\\x1", "\\section", "\\u12"])
def test_an_unknown_escape_is_named(spelling: str) -> None:
    with pytest.raises(UsageError, match=r"delimiter is .*is no escape.*a backslash"):
        parse_delimiter(spelling)


def test_a_file_without_divisions_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines could be a corpus of 20 GB."""
    monkeypatch.setattr(plain_text, "MAX_DOCUMENT", 30)
    path = write(tmp_path / "a.txt", "short\n\n" + "a line of it\n" * 1000)
    for reader in (read_paragraphs(path), read_delimited(path, "\f\f")):
        with pytest.raises(
            ValueError, match=r"a\.txt:[13]: a document of more than 30 characters; say what"
        ) as error:
            list(reader)
        assert "--delimiter '\\n', or --delimiter none" in str(error.value)
    assert len(list(read_delimited(path, "\n"))) == 1001
