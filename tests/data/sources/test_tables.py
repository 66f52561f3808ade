"""Tables: what programs write comes back exactly, and damage costs its own row at most."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sunfish.data.sources.files import FileSource
from sunfish.data.sources.files.records import BadRecord, Note
from sunfish.data.sources.files.tables import STRAY_QUOTE, read_table
from tests.data.sources.files import texts, write

LAW = settings(deadline=None, max_examples=40)
# What a program has to quote or escape, and what other readers divide at.
LETTERS = "ab ,;\t|\"'\n\\é\u2028\v狐"
DIALECTS = [
    {"delimiter": delimiter, "quoting": quoting, "lineterminator": line_end}
    for delimiter in ",;\t|"
    for quoting, line_end in (
        (csv.QUOTE_MINIMAL, "\r\n"),
        (csv.QUOTE_MINIMAL, "\n"),
        (csv.QUOTE_ALL, "\r"),
        (csv.QUOTE_NONNUMERIC, "\n"),
    )
]
ESCAPING = [
    {"doublequote": False, "escapechar": "\\"},
    {"doublequote": False, "escapechar": "\\", "delimiter": "\t", "lineterminator": "\n"},
    {"quoting": csv.QUOTE_NONE, "escapechar": "\\", "lineterminator": "\n"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def written(rows: list[list], **dialect) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, **dialect).writerows(rows)
    return file.getvalue()


def records(path: Path) -> list[dict[str, str]]:
    return [record for _, record in read_table(path) if isinstance(record, dict)]


def as_read(rows: list[list]) -> list[dict[str, str]]:
    header, *rest = rows
    return [dict(zip(header, (str(v).lstrip(" ") for v in row), strict=True)) for row in rest]


def unspaced(found: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value.lstrip(" ") for name, value in record.items()} for record in found]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(rows=st.lists(st.tuples(st.text(LETTERS, max_size=12), st.sampled_from("xyz")), max_size=6))
@settings(LAW, max_examples=15)  # of each of sixteen dialects
def test_any_table_that_a_program_writes_comes_back(
    folder: Path, dialect: dict, rows: list[tuple[str, str]]
) -> None:
    table = [["id", "text", "Star Rating"], *([i, *row] for i, row in enumerate(rows))]
    path = write(folder / "a.csv", written(table, **dialect))
    assert unspaced(records(path)) == as_read(table)
    assert not any(isinstance(record, BadRecord | Note) for _, record in read_table(path))


@pytest.mark.parametrize("dialect", ESCAPING)
@given(rows=st.lists(st.text(LETTERS.replace("\n", ""), max_size=12), max_size=6))
@LAW
def test_backslashes_that_escape_are_seen(folder: Path, dialect: dict, rows: list[str]) -> None:
    table = [["id", "text"], [0, 'says "a, b" and\tc'], *([i, row] for i, row in enumerate(rows, 1))]
    path = write(folder / "a.csv", written(table, **dialect))
    assert unspaced(records(path)) == as_read(table)


@given(rows=st.lists(st.text('ab "', max_size=8).map(str.strip), min_size=1, max_size=9))
@settings(LAW, max_examples=80)
def test_no_stray_quote_costs_another_row(folder: Path, rows: list[str]) -> None:
    content = "".join(f"{i},{text},x\n" for i, text in enumerate(rows))
    path = write(folder / "a.csv", "id,text,label\n" + content)
    read = [(line, record) for line, record in read_table(path) if not isinstance(record, Note)]
    assert [line for line, _ in read] == list(range(2, len(rows) + 2))
    assert all(record["id"] == str(line - 2) for line, record in read if isinstance(record, dict))


@given(
    rows=st.lists(st.text("ab, ", max_size=8), min_size=1, max_size=9),
    damage=st.lists(st.tuples(st.integers(0, 120), st.booleans()), max_size=4),
)
@settings(LAW, max_examples=80)
def test_no_quote_more_or_less_costs_another_row(
    folder: Path, rows: list[str], damage: list[tuple[int, bool]]
) -> None:
    content = written(
        [[i, text, "x"] for i, text in enumerate(rows)], quoting=csv.QUOTE_ALL, lineterminator="\n"
    )
    for position, adds in damage:
        at = position % len(content)
        if adds:
            content = content[:at] + '"' + content[at:]
        elif (at := content.find('"', at)) >= 0:
            content = content[:at] + content[at + 1 :]
    path = write(folder / "a.csv", '"id","text","label"\r\n' + content)
    read = [(line, record) for line, record in read_table(path) if not isinstance(record, Note)]
    assert [line for line, _ in read] == list(range(2, len(rows) + 2))


@pytest.mark.parametrize(
    "damaged, text",
    [
        ('5,"Hello', '"Hello'),
        ('5,"Hello" said the fox', '"Hello" said the fox'),
        ('5,"He said "hi" to me, and left"', 'He said "hi" to me, and left'),
        ('5,6" pipe', '6" pipe'),
        ('5,"a ""b"" c" d', '"a ""b"" c" d'),
        ('5,""', ""),
        ("5,back\\slash", "back\\slash"),
        ('5,"He said "hi""', 'He said "hi"'),
    ],
)
def test_a_stray_quote_is_read_as_it_stands(tmp_path: Path, damaged: str, text: str) -> None:
    rows = [f'{i},"text {i}, and more"' for i in range(5)], [f"{i},text {i}" for i in range(6, 40)]
    path = write(tmp_path / "a.csv", "\n".join(["id,text", *rows[0], damaged, *rows[1]]))
    read = records(path)
    assert [r["id"] for r in read] == [str(i) for i in range(40)]
    assert read[5]["text"] == text


def test_a_damaged_row_of_several_lines_is_one_row(tmp_path: Path) -> None:
    rows = [f'"{i}","text {i}","x"' for i in range(20)]
    rows[5] = '"5","line one\nline "two" and more","x"'
    rows[9] = '"9","line one\nline two "and\nthree","x"'
    path = write(tmp_path / "a.csv", "\n".join(['"id","text","label"', *rows]))
    read = {record["id"]: record["text"] for record in records(path)}
    assert read.pop("5") == 'line one\nline "two" and more'
    assert read == {str(i): f"text {i}" for i in range(20) if i not in (5, 9)}
    broken = [line for line, record in read_table(path) if isinstance(record, BadRecord)]
    assert broken == [12, 13, 14]


def test_rows_without_numbers_are_known_by_their_labels(tmp_path: Path) -> None:
    rows = [f"text {i},{('pos', 'neg')[i % 2]}" for i in range(20)]
    rows[7], rows[12] = '"text 7,neg', 'of 6",pos'
    path = write(tmp_path / "a.csv", "\n".join(["text,label", *rows]))
    assert len(records(path)) == 20
    assert [line for line, record in read_table(path) if record == Note(STRAY_QUOTE)] == [9]


def test_a_text_of_lines_with_commas_stays_one(tmp_path: Path) -> None:
    poem = "Roses, are red\nViolets, are blue\nSugar, is sweet"
    path = write(tmp_path / "a.csv", written([["mood", "text"], ["sad", "x"], ["glad", poem]]))
    assert records(path)[1]["text"] == poem


HEADERS = [
    "\ufeffid,text",
    " id , text ",
    '"id","text"',
    '\ufeff"id","text"',
    "id;text",
    "id\ttext",
    "id|text",
    "\n\nid,text",
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_headers_are_read_whatever_their_form(tmp_path: Path, header: str, line_end: str) -> None:
    delimiter = next(d for d in ",;\t|" if d in header)
    lines = [header.replace("\n", line_end), *(f"{i}{delimiter}text {i}" for i in range(4))]
    path = write(tmp_path / "a.csv", line_end.join(lines))
    assert records(path) == [{"id": str(i), "text": f"text {i}"} for i in range(4)]


def test_a_first_line_that_names_the_delimiter_is_no_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "sep=^\r\nid^text\r\n1^one, two\r\n2^three^\r\n3^a^b\r\n")
    assert [r["text"] for r in records(path)] == ["one, two", "three"]
    assert [line for line, record in read_table(path) if isinstance(record, BadRecord)] == [5]


def test_tsv_is_a_table_with_tabs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.TSV", 'id,x\ttext\n1\tone, "two"\n2\t"three\n')
    assert [r["text"] for r in records(path)] == ['one, "two"', '"three']


def test_one_column_is_divided_nowhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text\none, two; three\n"four\nfive"\n')
    assert [r["text"] for r in records(path)] == ["one, two; three", "four\nfive"]


def test_rows_that_do_not_fit_are_counted_with_their_lines(tmp_path: Path) -> None:
    lines = [
        "text,label",
        "one,x",
        "two",
        "",
        "three,x,y",
        "four,x,,",
        "text,label",
        "fi\0ve,x",
        ",x",
        "six,y",
    ]
    source = FileSource(write(tmp_path / "a.csv", "\r\n".join(lines)))
    assert texts(source) == {"one", "two", "four", "six"}
    assert source.report().skips.locations == {
        "row has more fields than the header": ["a.csv:5"],
        "row repeats the header": ["a.csv:7"],
        "text has NUL characters": ["a.csv:8"],
        "text is empty": ["a.csv:9"],
    }


def test_a_name_that_two_columns_have_is_noted(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.csv", "text,n,n,,\none,1,2,,\ntwo,3,4,,\n"), prompt_field="n")
    assert {tuple(example) for example in source.examples("train")} <= {("1", "one"), ("3", "two")}
    assert source.report().notes.lines() == ["1 x header names 'n' twice: the first column is read (a.csv:1)"]


def test_files_that_were_joined_count_their_headers(tmp_path: Path) -> None:
    part = "\ufefftext,n\n{0} one,1\n{0} two,2\n"
    source = FileSource(write(tmp_path / "a.csv", part.format("first") + part.format("second")))
    assert texts(source) == {"first one", "first two", "second one", "second two"}
    assert source.report().skips.locations == {"row repeats the header": ["a.csv:4"]}


def test_a_header_that_is_no_csv_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.csv:1: the header line is no CSV"):
        texts(FileSource(write(tmp_path / "a.csv", 'text,"label\none,x\n')))
