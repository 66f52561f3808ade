"""Fields of records: the text, the prompt, the template, and names that no record has."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.data.sources.files import FileSource
from sunfish.utils import UsageError
from tests.data.sources.files import everything, jsonl, texts, write


def test_prompts_from_a_field_and_from_a_template(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": f"t{i}", "label": "pos", "stars": i} for i in range(4)])
    assert {p for p, _ in everything(FileSource(path, prompt_field="label"))} == {"pos"}
    template = FileSource(path, prompt_template="Write a {label} review of {stars} stars")
    assert ("Write a pos review of 0 stars", "t0") in everything(template)


def test_a_record_without_its_prompt_is_noted_and_left_to_derivation(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "a", "p": "yes"}, {"text": "b"}, {"text": "c", "p": " "}])
    source = FileSource(path, prompt_field="p")
    assert set(everything(source)) == {("yes", "a"), ("", "b"), ("", "c")}
    assert source.report().notes.counts == {"field 'p' is absent or empty: prompt derived from the text": 2}
    assert source.report().notes.locations.popitem()[1] == ["a.jsonl:2", "a.jsonl:3"]


def test_a_template_leaves_out_a_field_without_text_while_another_has_some(tmp_path: Path) -> None:
    records = [
        {"text": "a", "task": "Add the numbers.", "input": "1, 2"},
        {"text": "b", "task": "Name a color.", "input": ""},
        {"text": "c", "task": "Name a bird."},
        {"text": "d", "task": " ", "input": None},
        {"text": "e", "task": "Sort them.", "input": ["b", "a"]},
    ]
    source = FileSource(jsonl(tmp_path / "a.jsonl", records), prompt_template="{task} {input}")
    prompts = {text: prompt for prompt, text in everything(source)}
    assert prompts == {
        "a": "Add the numbers. 1, 2",
        "b": "Name a color.",
        "c": "Name a bird.",
        "d": "",
        "e": "",
    }
    assert source.report().notes.counts == {
        "field 'input' is absent or empty: left out of the prompt": 2,
        "field 'task' is absent or empty: prompt derived from the text": 1,
        "field 'input' is no text but a list: prompt derived from the text": 1,
    }


def test_a_field_that_no_record_has_is_an_error_naming_the_fields(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"review": "a", "label": "x"}, {"review": "b"}])
    with pytest.raises(UsageError, match=r"text_field is 'text'.*review, label.*--text-field"):
        texts(FileSource(path))
    with pytest.raises(UsageError, match=r"prompt_field is 'lable'.*fields found: review, label"):
        texts(FileSource(path, text_field="review", prompt_field="lable"))
    with pytest.raises(UsageError, match=r"prompt_template is 'A \{mood\} one'.*mood.*review, label"):
        texts(FileSource(path, text_field="review", prompt_template="A {mood} one"))


@pytest.mark.parametrize("template", ["Write a review", "a {label", "Write {}", "a label}", "{{label}}"])
def test_a_template_without_usable_fields_is_an_error(tmp_path: Path, template: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": "x"}] * 2)
    with pytest.raises(UsageError, match=r"prompt_template.*in braces"):
        FileSource(path, prompt_template=template)


def test_fields_of_plain_text_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n\ntwo")
    with pytest.raises(UsageError, match=r"prompt_field is 'label'.*plain text"):
        FileSource(path, prompt_field="label")


def test_names_are_taken_letter_by_letter(tmp_path: Path) -> None:
    names = ["Review Title", "dc:title", "a!r", "a[0]", "meta.title", "größe", "__class__", "1"]
    records = [{"text": f"t{i}", **{name: f"<{name}>" for name in names}} for i in range(3)]
    path = jsonl(tmp_path / "a.jsonl", records)
    template = "{{".join(f"{{{name}}}" for name in names) + "}}"
    expected = "{".join(f"<{name}>" for name in names) + "}"
    assert {p for p, _ in everything(FileSource(path, prompt_template=template))} == {expected}
    for name in names:
        assert {p for p, _ in everything(FileSource(path, prompt_field=name))} == {f"<{name}>"}
        with pytest.raises(ValueError, match=r"only one document \(3 times\), so"):
            texts(FileSource(path, text_field=name))


def test_dots_lead_into_records_and_a_literal_key_wins(tmp_path: Path) -> None:
    records = [
        {"text": "a", "meta": {"title": "inner", "by": {"name": "X"}}, "k.l": {"m.n": "deep"}},
        {"text": "b", "meta.title": "literal", "meta": {"title": "no", "by": {"name": "Y"}}, "k": "z"},
    ]
    path = jsonl(tmp_path / "a.jsonl", records)
    source = FileSource(path, prompt_template="{meta.title} by {meta.by.name}")
    assert set(everything(source)) == {("inner by X", "a"), ("literal by Y", "b")}
    assert set(everything(FileSource(path, prompt_field="k.l.m.n"))) == {("deep", "a"), ("", "b")}
    with pytest.raises(UsageError, match=r"has meta\.size; fields found: text, meta\.title, meta\.by, k\.l"):
        texts(FileSource(path, prompt_template="{meta.size}"))


@pytest.mark.parametrize("name", ["a.__class__", "a[0]", "a!r", "a:>99999999", "a.upper", "0"])
def test_no_python_hides_in_a_template(tmp_path: Path, name: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "t", "a": ["x"]}, {"text": "u", "a": "x"}])
    with pytest.raises(UsageError, match=r"fields found: text, a$"):
        texts(FileSource(path, prompt_template=f"Write {{{name}}}"))


@pytest.mark.parametrize(
    "value, prompt",
    [
        ("1.0", "1.0"),
        ("1.10", "1.10"),
        ("1e3", "1e3"),
        ("9" * 5000, "9" * 5000),
        ("true", "true"),
        ("Infinity", "Infinity"),
        ('"NaN"', "NaN"),
        ("0", "0"),
        ("NaN", None),
        ("null", None),
        ('" \\ufeff "', None),
        ('["a", "b"]', None),
        ('{"b": "c"}', None),
        ('"\\udc00"', None),
    ],
)
def test_values_are_written_as_in_the_file(tmp_path: Path, value: str, prompt: str | None) -> None:
    lines = "".join(f'{{"text": "t{i}", "a": {value}}}\n' for i in range(2))
    source = FileSource(write(tmp_path / "a.jsonl", lines), prompt_template="p {a}")
    expected = "" if prompt is None else f"p {prompt}"
    assert {p for p, _ in everything(source)} == {expected}
    assert bool(source.report().notes.counts) == (prompt is None)


def test_missing_values_of_parquet_are_empty(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow (extra 'parquet') is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "text": ["one", None, "three", "four"],
        "stars": [1.0, 2.0, float("nan"), None],
        "meta": [{"ok": True}, {"ok": True}, {"ok": False}, None],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    source = FileSource(tmp_path / "a.parquet", prompt_template="{stars} {meta.ok}")
    assert set(everything(source)) == {("1.0 true", "one"), ("false", "three"), ("", "four")}
    assert source.report().skips.locations == {"text is empty": ["a.parquet:2"]}
    assert sum(source.report().notes.counts.values()) == 2


def test_messages_stay_short_whatever_the_fields(tmp_path: Path) -> None:
    record = {f"{'long name ' * 50}{i}\n": "x" for i in range(500)}
    path = jsonl(tmp_path / "a.jsonl", [record, record])
    with pytest.raises(UsageError, match="no record of") as error:
        texts(FileSource(path))
    assert len(str(error.value)) < 1500 and "\n" not in str(error.value)
