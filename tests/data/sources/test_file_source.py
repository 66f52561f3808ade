"""A source of files: every format, every way that a file can be wrong, and what is held out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sunfish.data.sources.files import FileSource
from sunfish.utils import UsageError
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
    assert source.report().skips.locations == {
        "hidden, so not read": [".hidden.txt"],
        "file is none of .txt, .jsonl, .csv, .tsv, .parquet": ["notes.md"],
    }


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow (extra 'parquet') is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": ["one", "two", None], "label": ["x", "y", "z"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    source = FileSource(tmp_path / "a.parquet", prompt_field="label")
    assert set(everything(source)) == {("x", "one"), ("y", "two")}
    assert source.report().skips.lines() == ["1 x text is empty (a.parquet:3)"]
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
        ([b'{"text": ["a"]}'], "field 'text' is no text but a list", 1),
        ([b'{"text": {"a": "b"}}'], "field 'text' is no text but a dict", 1),
        ([b'{"text": null}'], "text is empty", 1),
        ([b'{"text": NaN}'], "text is empty", 1),
        ([b'{"text": "a\\u0000b"}'], "text has NUL characters", 1),
        ([b'{"text": "a", "text": "b"}'], "line names the field 'text' twice", 1),
        ([b'{"text": ' + b"[" * 99_999], "line is no JSON", 1),
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


def test_broken_utf8_costs_one_document_of_a_txt(tmp_path: Path) -> None:
    source = FileSource(write(tmp_path / "a.txt", b"one\n\ntwo \xff\n\nthree"))
    assert texts(source) == {"one", "three"}
    assert source.report().skips.locations == {"text is no valid UTF-8": ["a.txt:3"]}


@pytest.mark.parametrize(
    "damaged, fault",
    [
        (b"one\ntwo \xff\nthree" * 9, "bytes that are no UTF-8; save"),
        (b"one\rtwo \0\nthree" * 9, "a NUL character"),
        ("one\r\ntwo \ud800\nthree".encode("utf-16", "surrogatepass"), "bytes that are no UTF-16; the file"),
    ],
)
def test_damage_of_one_long_text_is_an_error_with_its_line(
    tmp_path: Path, damaged: bytes, fault: str
) -> None:
    source = FileSource(write(tmp_path / "a.txt", damaged), delimiter="none", validation_fraction=0.2)
    with pytest.raises(ValueError, match=rf"a\.txt:2: {fault}"):
        texts(source)


def test_a_file_in_another_encoding_has_the_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "é un\n\né deux".encode("latin-1"))
    with pytest.raises(ValueError, match=r"2 x text is no valid UTF-8 \(a\.txt:1, a\.txt:3\); save .*iconv"):
        texts(FileSource(path))


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


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_end_where_an_editor_ends_them(tmp_path: Path, line_end: str) -> None:
    inner = "a\u2028b\u2029c\u0085d\ve\ff"
    lines = [inner, " \t\xa0\u3000", f"caf\udce9 {inner}", "", inner + "2"]
    content = line_end.join(lines).encode("utf-8", "surrogateescape")
    source = FileSource(write(tmp_path / "a.txt", content))
    assert texts(source) == {inner, inner + "2"}
    assert source.report().skips.locations == {"text is no valid UTF-8": ["a.txt:3"]}
    records = [f'{{"text": "{inner}"}}', "no", f'{{"text": "{inner}2"}}']
    source = FileSource(write(tmp_path / "a.JSONL", line_end.join(records)))
    assert texts(source) == {inner, inner + "2"}
    assert source.report().skips.locations == {"line is no JSON": ["a.JSONL:2"]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("delimiter", ["", "\\n", "none"])
def test_every_marked_encoding_gives_the_same_documents(
    tmp_path: Path, encoding: str, delimiter: str
) -> None:
    content = "\n\n".join(f"Text {i} über 狐狸." for i in range(30))
    plain = FileSource(write(tmp_path / "a.txt", content), delimiter=delimiter)
    marked = FileSource(write(tmp_path / "b.txt", content.encode(encoding)), delimiter=delimiter)
    assert everything(marked) == everything(plain)


@pytest.mark.parametrize("delimiter", ["", "\\n---\\n", "\\n"])
def test_marks_of_joined_files_are_no_text(tmp_path: Path, delimiter: str) -> None:
    between = {"": "\n\n", "\\n": "\n"}.get(delimiter, "\n---\n")
    content = between.join(["one", "two", "in\ufeffside"]).replace("\n", "\n\ufeff")
    source = FileSource(write(tmp_path / "a.txt", "\ufeff" + content), delimiter=delimiter)
    assert texts(source) == {"one", "two", "in\ufeffside"}


def test_what_is_no_text_is_left_out_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "c" / "image.txt", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 99)
    write(tmp_path / "c" / "wide.txt", ("one\n\ntwo\n\n" * 50).encode("utf-16-le"))
    write(tmp_path / "c" / "good.txt", "one\n\nt\0wo\n\nthree")
    for delimiter, places in (("", ["good.txt:3"]), ("\\n", ["good.txt:3"])):
        source = FileSource(tmp_path / "c", delimiter=delimiter)
        assert texts(source) == {"one", "three"}
        locations = source.report().skips.locations
        assert locations.pop("text has NUL characters") == places
        assert sorted(locations.values()) == [["image.txt"], ["wide.txt"]]
        assert any("iconv -f UTF-16LE -t UTF-8" in reason for reason in locations)
    with pytest.raises(ValueError, match=r"no usable document: 1 x file is a PNG image"):
        texts(FileSource(tmp_path / "c" / "image.txt"))


def test_delimiters_are_for_txt(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c" / "a.jsonl", [{"text": "one"}, {"text": "two"}])
    for data in (path, tmp_path / "c"):
        with pytest.raises(UsageError, match=r"delimiter is 'none'.*--delimiter is for \.txt"):
            FileSource(data, delimiter="none")
    write(tmp_path / "c" / "b.txt", "three")
    assert texts(FileSource(tmp_path / "c", delimiter="none")) >= {"one", "two"}


def test_the_name_fits_into_the_name_of_a_folder(tmp_path: Path) -> None:
    for stem in ("n" * 240, "狐" * 80, "é" * 120):
        source = FileSource(write(tmp_path / f"{stem}.txt", "one\n\ntwo"))
        assert source.name and len(source.name.encode()) <= 100 and stem.startswith(source.name)
        assert texts(source) == {"one", "two"}


def test_fingerprints_follow_content_and_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n\ntwo")
    first = FileSource(path).fingerprint()
    assert FileSource(path).fingerprint() == first
    assert FileSource(path, delimiter="x").fingerprint() != first
    write(path, "one\n\ntwo\n\nthree")
    assert FileSource(path).fingerprint() != first
