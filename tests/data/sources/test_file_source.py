"""A source of files: every format, every way that a file can be wrong, and what is held out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sunfish.data.sources.files import FileSource
from tests.data.sources.files import everything, jsonl, texts, write


def test_txt_divides_documents_at_blank_lines(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.txt", "\ufeffone\ntwo\r\n\r\n \nthree\n\n\n\nfour"))
    assert texts(source) == {"one\ntwo", "three", "four"}


@pytest.mark.parametrize("delimiter", ["<|endoftext|>", "\\n---\\n", "\n---\n"])
def test_txt_divides_documents_at_a_delimiter(tmp_path: Path, delimiter: str) -> None:
    real = delimiter.replace("\\n", "\n")
    path = write(tmp_path / "a.txt", real.join(["one\n\nstill one", "two", "", "three", ""]))
    assert texts(FileSource(path, delimiter=delimiter)) == {"one\n\nstill one", "two", "three"}


def test_one_long_text_is_cut_once_by_characters(tmp_path: Path) -> None:
    content = "".join(f"line {i} é\n\n" for i in range(2000))
    path = write(tmp_path / "a.txt", content)
    source = FileSource(path, delimiter="none", validation_fraction=0.1)
    train, validation = ("".join(e.text for e in source.examples(s)) for s in ("train", "validation"))
    assert train + validation == content
    assert len(train) == int(len(content) * 0.9)


def test_jsonl_csv_and_folders(tmp_path: Path) -> None:
    jsonl(tmp_path / "b" / "a.jsonl", [{"text": "from json", "n": 1}, {"text": "json again"}])
    write(tmp_path / "b" / "a.csv", 'n,text\n1,"with, comma\nand ""line"""\n2,plain\n')
    write(tmp_path / "b" / "deep" / "a.TXT", "from text")
    write(tmp_path / "b" / "notes.md", "ignored")
    write(tmp_path / "b" / ".hidden.txt", "hidden")
    source = FileSource(tmp_path / "b")
    assert texts(source) == {"from json", "json again", 'with, comma\nand "line"', "plain", "from text"}
    assert source.report().skips.lines() == ["1 x file is none of .txt, .jsonl, .csv, .parquet (notes.md)"]


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow (extra 'parquet') is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": ["one", "two", None], "label": ["x", "y", "z"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    source = FileSource(tmp_path / "a.parquet", prompt_field="label")
    assert set(everything(source)) == {("x", "one"), ("y", "two")}
    assert source.report().skips.lines() == ["1 x record has no field 'text' (a.parquet:3)"]
    write(tmp_path / "bad.parquet", b"PAR1 this is not parquet")
    with pytest.raises(ValueError, match="no readable Parquet"):
        texts(FileSource(tmp_path / "bad.parquet"))


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"\./run\.sh -m pip install -e '\.\[parquet\]'"):
        texts(FileSource(write(tmp_path / "a.parquet", b"PAR1")))


@pytest.mark.parametrize(
    "lines, reason, place",
    [
        ([b'{"text": "ok"}', b"{not json}"], "line is no JSON", 2),
        ([b'{"text": "ok"}', b"", b"[1, 2]"], "line is JSON, but no object with fields", 3),
        ([b'{"other": 1}'], "record has no field 'text'", 1),
        ([b'{"text": ["a"]}'], "field 'text' is no text", 1),
        ([b'{"text": " \\n"}'], "text is empty", 1),
        ([b'{"text": "caf\xe9"}'], "text is no valid UTF-8", 1),
        ([b'{"text": "\\ud800"}'], "text is no valid UTF-8", 1),
    ],
)
def test_a_bad_line_is_a_counted_skip_with_its_place(
    tmp_path: Path, lines: list[bytes], reason: str, place: int
) -> None:
    good = [b'{"text": "first"}', b'{"text": "second"}']
    source = FileSource(write(tmp_path / "a.jsonl", b"\n".join(lines + good)))
    assert {"first", "second"} <= texts(source)
    assert source.report().skips.to_dict() == {reason: {"count": 1, "places": [f"a.jsonl:{place}"]}}


def test_only_the_first_places_are_kept(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b"}\n' + "x\n" * 9))
    texts(source)
    assert source.report().skips.lines() == [
        "9 x line is no JSON (a.jsonl:3, a.jsonl:4, a.jsonl:5, a.jsonl:6, a.jsonl:7, …)"
    ]


def test_a_bad_csv_row_is_a_counted_skip(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.csv", b"text,label\none,x\ntwo,y,z\nth\xffree,x\nfour,x\n,x\n"))
    assert texts(source) == {"one", "four"}
    assert source.report().skips.locations == {
        "row has more fields than the header": ["a.csv:3"],
        "text is no valid UTF-8": ["a.csv:4"],
        "text is empty": ["a.csv:6"],
    }


def test_an_unclosed_quote_does_not_swallow_rows_in_silence(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.csv", 'text\none\ntwo\n"three\nfour\n'))
    assert texts(source) == {"one", "two"}
    assert source.report().skips.locations == {"row is no CSV (unexpected end of data)": ["a.csv:4"]}


def test_broken_utf8_costs_one_document_of_a_txt(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.txt", b"one\n\ntwo \xff\n\nthree"))
    assert texts(source) == {"one", "three"}
    assert source.report().skips.locations == {"text is no valid UTF-8": ["a.txt:3"]}


def test_broken_utf8_in_one_long_text_is_an_error_with_its_line(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.txt", b"one\ntwo \xff\nthree" * 9), delimiter="none")
    with pytest.raises(ValueError, match=r"a\.txt:2: bytes that are no UTF-8"):
        texts(source)


def test_an_empty_file_is_skipped_and_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "c" / "a.txt", "")
    with pytest.raises(ValueError, match=r"no usable document: 1 x file is empty \(a.txt\)"):
        texts(FileSource(tmp_path / "c"))
    write(tmp_path / "c" / "b.txt", "one\n\ntwo")
    source = FileSource(tmp_path / "c")
    assert texts(source) == {"one", "two"}
    assert source.report().skips.locations == {"file is empty": ["a.txt"]}
    with pytest.raises(ValueError, match="no usable document"):
        texts(FileSource(write(tmp_path / "blank.txt", "\n \n\n")))


def test_one_document_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"only one document.*--delimiter none"):
        texts(FileSource(write(tmp_path / "a.txt", "one\ntwo")))


@pytest.mark.parametrize("count, fraction, expected", [(10, 0.05, 1), (40, 0.1, 4), (999, 0.05, 50)])
def test_small_corpora_hold_out_an_exact_number(
    tmp_path: Path, count: int, fraction: float, expected: int
) -> None:
    path = write(tmp_path / "a.txt", "\n\n".join(f"document {i}" for i in range(count)))
    source = FileSource(path, validation_fraction=fraction)
    assert len(list(source.examples("validation"))) == expected
    assert len(list(source.examples("train"))) == count - expected


def test_large_corpora_hold_out_about_the_share_and_never_a_copy(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\n\n".join(f"document {i % 2500}" for i in range(5000)))
    source = FileSource(path, validation_fraction=0.2)
    train, validation = ([e.text for e in source.examples(s)] for s in ("train", "validation"))
    assert not set(train) & set(validation)
    assert len(train) + len(validation) == 5000
    assert 0.15 < len(validation) / 5000 < 0.25


def test_what_is_held_out_does_not_depend_on_the_order(tmp_path: Path) -> None:
    lines = [f"document {i}" for i in range(1500)]
    one = FileSource(write(tmp_path / "a.txt", "\n\n".join(lines)))
    other = FileSource(write(tmp_path / "b.txt", "\n\n".join(reversed(lines))))
    held_out = [{e.text for e in source.examples("validation")} for source in (one, other)]
    assert held_out[0] == held_out[1]


def test_fingerprints_follow_content_and_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n\ntwo")
    first = FileSource(path).fingerprint()
    assert FileSource(path).fingerprint() == first
    assert FileSource(path, delimiter="x").fingerprint() != first
    write(path, "one\n\ntwo\n\nthree")
    assert FileSource(path).fingerprint() != first
