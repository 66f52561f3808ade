"""Where a record stands, and which of two readings counts: lines from the file's first, the likelier delimiter."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.data.sources.files import FileSource
from sunfish.data.sources.files.fields import ABSENT, lookup
from sunfish.data.sources.files.readers import read_jsonl
from sunfish.data.sources.files.tables import Dialect, find_dialect, read_table
from tests.data.sources.files import texts, write


@pytest.mark.parametrize("head, first", [("", 2), ("sep=;\n", 3), ("sep=;\r\n", 3)])
def test_a_row_of_a_table_is_counted_from_the_first_line_of_the_file(
    tmp_path: Path, head: str, first: int
) -> None:
    path = write(tmp_path / "a.csv", head + 'text;n\none;1\n\n"two\nlines";2\nthree;3\n')
    rows = [(line, record["text"]) for line, record in read_table(path)]
    assert rows == [(first, "one"), (first + 2, "two\nlines"), (first + 4, "three")]


def test_blank_lines_of_json_are_counted_and_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '\n{"text": "one"}\n\n \n{"text": "two"}')
    assert list(read_jsonl(path)) == [(2, {"text": "one"}), (5, {"text": "two"})]


@pytest.mark.parametrize(
    "sample, dialect",
    [
        (["a,b;c\n", "1,2;3\n"], Dialect(",")),  # as good as the other: the likelier one
        (["a,b;c\n", "1;3\n", "1,2;3\n", "4;5\n"], Dialect(";")),
        (["a;b\n", '"x \\" y";2\n'], Dialect(";", "\\")),
        (["a;b\n", "x;2\n"], Dialect(";")),
        (["text\n", "one\n"], Dialect("\x1f")),
    ],
)
def test_the_delimiter_with_the_fewest_damaged_rows_counts(sample: list[str], dialect: Dialect) -> None:
    assert find_dialect(sample, ",;\t|") == dialect


def test_every_dot_of_a_name_may_lead_inside() -> None:
    record = {"first": {"second.third": {"fourth": 1, "none": None}}, "a.b": {"c": 2}, "a": {"b": {"d": 3}}}
    assert lookup(record, "first.second.third.fourth") == 1
    assert lookup(record, "first.second.third.none") is None
    assert (lookup(record, "a.b.c"), lookup(record, "a.b.d")) == (2, 3)
    assert lookup(record, "first.second") is lookup(record, "first.") is ABSENT


@pytest.mark.parametrize("blank", ["\n\n", "\n \n\n\n"])
def test_documents_begin_on_their_first_line_of_words(tmp_path: Path, blank: str) -> None:
    path = write(tmp_path / "a.txt", f"\none{blank}two\nlines{blank}three")
    lines = path.read_text().split("\n")
    for delimiter in ("", "\\n\\n"):
        files = FileSource(path, delimiter=delimiter)
        located = [d for split in ("train", "validation") for d in files.documents(split)]
        assert texts(files) == {"one", "two\nlines", "three"}
        for location, example in located:
            assert lines[int(location.rpartition(":")[2]) - 1] == example.text.split("\n")[0]
