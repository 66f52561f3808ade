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
    assert source.report().notes.counts == {
        "field 'p' is absent, empty or broken: prompt derived from the text": 2
    }
    assert source.report().notes.locations.popitem()[1] == ["a.jsonl:2", "a.jsonl:3"]


def test_a_field_that_no_record_has_is_an_error_naming_the_fields(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"review": "a", "label": "x"}, {"review": "b"}])
    with pytest.raises(UsageError, match=r"text_field is 'text'.*review, label.*--text-field"):
        texts(FileSource(path))
    with pytest.raises(UsageError, match=r"prompt_field is 'lable'.*fields found: review, label"):
        texts(FileSource(path, text_field="review", prompt_field="lable"))
    with pytest.raises(UsageError, match=r"prompt_template is 'A \{mood\} one'.*mood.*review, label"):
        texts(FileSource(path, text_field="review", prompt_template="A {mood} one"))


@pytest.mark.parametrize("template", ["Write a review", "Write a {label", "Write {}", "Write {a.b}"])
def test_a_template_without_usable_fields_is_an_error(tmp_path: Path, template: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": "x"}] * 2)
    with pytest.raises(UsageError, match=r"prompt_template.*in braces"):
        FileSource(path, prompt_template=template)


def test_fields_of_plain_text_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n\ntwo")
    with pytest.raises(UsageError, match=r"prompt_field is 'label'.*plain text"):
        FileSource(path, prompt_field="label")
