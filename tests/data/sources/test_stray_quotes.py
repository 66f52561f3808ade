"""Rows that a stray quote joined or broke, each with its fields as a reader would write them down."""

from __future__ import annotations

import pytest

from sunfish.data.sources.files.stray_quotes import (
    MAX_SEEN_CHARACTERS,
    MAX_SEEN_VALUES,
    ColumnValues,
    read_damaged,
)
from sunfish.data.sources.files.tables import Dialect, Row, read_rows

Damaged = tuple[str, list[str], int, list[str], int]
DAMAGED: dict[str, Damaged] = {  # delimiter, lines, width; fields, and how many lines they are
    "a quote in a quoted field": (
        ",",
        ['5,"He said "hi" to me, and left"\n'],
        2,
        ["5", 'He said "hi" to me, and left'],
        1,
    ),
    "another delimiter": (";", ['5;"a "b" c; d, e"\n'], 2, ["5", 'a "b" c; d, e'], 1),
    "an inch": (",", ['5,6" pipe\n'], 2, ["5", '6" pipe'], 1),
    "letters after the end": (",", ['5,"a ""b"" c" d\n'], 2, ["5", '"a ""b"" c" d'], 1),
    "nothing": (",", ['5,""\n'], 2, ["5", ""], 1),
    "spaces around a field": (",", ['5, "x" \r\n'], 2, ["5", "x"], 1),
    "spaces before the delimiter": (",", ['"x" ,5\n'], 2, ["x", "5"], 1),
    "spaces of a field": (",", ["5, x \n"], 2, ["5", " x "], 1),
    "spaces within quotes": (",", ['5,"a , b " \n'], 2, ["5", "a , b "], 1),
    "no room for the closing quote": (",", ['5,"He said "hi""\n'], 2, ["5", 'He said "hi"'], 1),
    "the same with spaces": (",", ['5, "a ""b"" "" \n'], 2, ["5", 'a "b" "'], 1),
    "doubled quotes": (",", ['5,"a ""b"""\n'], 2, ["5", 'a "b"'], 1),
    "doubled quotes at a delimiter": (",", ['5,"say ""hi"", ok"\n'], 2, ["5", 'say "hi", ok'], 1),
    "a quote alone": (",", ['5,"\n'], 2, ["5", '"'], 1),
    "not closed": (",", ['"five,5\n'], 2, ['"five', "5"], 1),
    "not opened": (",", ['5,five"\n'], 2, ["5", 'five"'], 1),
    "closed in another field": (",", ['"a"b,c"\n'], 2, ['"a"b', 'c"'], 1),
    "one column": (",", ['"a"b,c"\n'], 1, ['a"b,c'], 1),
    "two fields too many": (",", ["1,a,b,c\n"], 2, ["1", "a", "b", "c"], 1),
    "a field too few": (",", ['1,"a\n'], 3, ["1", '"a'], 1),
    "a text of two lines": (
        ",",
        ['"5","one\r\n', 'line "two" and more","x"\r\n'],
        3,
        ["5", 'one\r\nline "two" and more', "x"],
        2,
    ),
    "a text of three lines": (
        ",",
        ['"5","one\n', 'two "x"\n', 'three","x"'],
        3,
        ["5", 'one\ntwo "x"\nthree', "x"],
        3,
    ),
    "a text of two lines before a number": (
        ",",
        ['"5","one\n', 'two",7\r\n'],
        3,
        ["5", "one\ntwo", "7"],
        2,
    ),
    "a row follows": (",", ['"5","one\n', "a,b,c\n"], 3, ['"5"', '"one'], 1),
    "a row follows later": (",", ['"5","one\n', "two\n", 'a,b",c"\n'], 3, ['"5"', '"one'], 1),
    "letters at the ends": (",", ['Xa,b"c,X\r\n'], 3, ["Xa", 'b"c', "X"], 1),
    "never closed": (",", ['"5","one\n', "two\n"], 3, ['"5"', '"one'], 1),
}


@pytest.mark.parametrize("case", DAMAGED.values(), ids=list(DAMAGED))
def test_a_damaged_row_is_read_as_it_was_meant(case: Damaged) -> None:
    delimiter, lines, width, fields, count = case
    assert read_damaged(lines, delimiter, width) == (fields, count)


def columns_of(*rows: list[str]) -> ColumnValues:
    columns = ColumnValues()
    for row in rows:
        columns.add(row)
    return columns


SEEN = [["good film", "pos"], ["bad film", "neg"]]
LINES = {  # lines that were read as one row of two fields, and whether they are rows of their own
    "one line": (["x,pos\n"], False),
    "known labels": (["x,pos\n", "y,neg\n"], True),
    "known labels, Windows": (["x,pos\r\n", "y,neg\r\n"], True),
    "known labels, the last line of a file": (["x,pos\n", "y,neg"], True),
    "one label unknown": (["x,pos\n", "y,neutral\n"], False),
    "known in the first column": (["bad film,x\n", "good film,y\n"], True),
    "known in the other column": (["pos,x\n", "neg,y\n"], False),
    "known in a column each": (["good film,x\n", "y,pos\n"], False),
    "the first has too few": (["x\n", "y,pos\n"], False),
    "the last has too many": (["x,pos\n", "y,pos,\n"], False),
    "numbers": (["x,17\n", "y,8\n"], True),
    "numbered names": (["id-4,x\n", "key-15,y\n"], True),
    "numbers of several kinds": (["x,17\n", "y,1.5\n"], False),
    "a number and a word": (["x,17\n", "y,eight\n"], False),
    "words alone": (["one,x\n", "two,y\n"], False),
    "words in other alphabets": (["é4,x\n", "Ω_5,y\n"], True),
}


@pytest.mark.parametrize("lines,are_rows", LINES.values(), ids=list(LINES))
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_joined_rows_are_known_by_a_column(delimiter: str, lines: list[str], are_rows: bool) -> None:
    lines = [line.replace(",", delimiter) for line in lines]
    assert columns_of(*SEEN).are_rows(lines, delimiter) is are_rows


def test_nothing_is_known_of_a_table_without_columns() -> None:
    assert not columns_of().are_rows(["1\n", "2\n"], ",")
    assert not columns_of(["number"]).are_rows(["1\n", "2\n"], ",")
    assert columns_of(["a", "b"]).are_rows(["1,x\n", "2,y\n"], ",")


def test_spaces_belong_to_a_value() -> None:
    columns = columns_of(["a", "pos "], ["b", " neg"])
    assert columns.are_rows(["x,pos \n", "y, neg\n"], ",")
    assert not columns.are_rows(["x,pos\n", "y,neg\n"], ",")


def test_short_values_are_remembered_to_a_limit() -> None:
    longest = "x" * MAX_SEEN_CHARACTERS
    columns = columns_of(["text", longest], ["text", longest + "x"], ["text", ""])
    assert columns.are_rows([f"a,{longest}\n"] * 2, ",")
    assert not columns.are_rows([f"a,{longest}x\n"] * 2, ",")
    assert not columns.are_rows(["a,\n", "b,\n"], ",")  # an empty field is no sign of a row
    names = ["".join(chr(97 + digit) for digit in divmod(i, 26)) + "!" for i in range(26 * 26)]
    names = [a + b for a in ("", "?") for b in names][: MAX_SEEN_VALUES + 1]
    assert len(set(names)) == MAX_SEEN_VALUES + 1
    columns = columns_of(*([name, "x"] for name in names))
    assert columns.are_rows([f"{names[-2]},a\n", f"{names[0]},b\n"], ",")
    assert not columns.are_rows([f"{names[-1]},a\n", f"{names[0]},b\n"], ",")


def test_rows_of_other_widths_are_learned_as_far_as_they_go() -> None:
    columns = columns_of(["one", "pos"], ["two"], ["three", "neg", "more"])
    assert columns.are_rows(["one,x\n", "two,y\n", "three,z\n"], ",")
    assert columns.are_rows(["a,pos\n", "b,neg\n"], ",")
    assert not columns.are_rows(["a,pos,more\n", "b,neg,more\n"], ",")


def test_spaces_after_a_delimiter_are_no_part_of_a_field() -> None:
    lines = ["id, text\n", '1, "one, two"\n', "2,  three\n"]
    rows = [Row(1, ["id", "text"]), Row(2, ["1", "one, two"]), Row(3, ["2", "three"])]
    assert list(read_rows(iter(lines), Dialect(","))) == rows
