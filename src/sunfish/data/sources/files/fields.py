"""Owns how a record becomes a document: which field is its text, and which fields make its prompt.

A name is a key of the record; where no key is that, its dots lead into records inside the record. So
``meta.title`` is the key ``meta.title``, or ``title`` of ``meta``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sunfish.data.report import PreparationReport
from sunfish.data.sources.files.records import BadRecord, Note, Record, damage, stripped
from sunfish.types import Example
from sunfish.utils import UsageError

ABSENT = object()  # what a record has for a name that leads nowhere
DERIVED = "prompt derived from the text"  # for a record that gives none
SHOWN_NAMES, SHOWN_CHARACTERS = 20, 40  # in a message
# Doubled braces, a field, or a brace that is neither.
_TEMPLATE_PART = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


class RecordFields:
    """The fields that the user named, by which records are read."""

    def __init__(self, text_field: str, prompt_field: str, prompt_template: str) -> None:
        """Take the names of fields.

        Args:
            text_field: The field of the text.
            prompt_field: The field of the prompt; empty: none.
            prompt_template: A prompt with fields in braces, whatever their names; empty: none.

        Raises:
            UsageError: The template cannot be read, or it names no field.
        """
        self.text_field, self.prompt_field, self.prompt_template = text_field, prompt_field, prompt_template
        self.prompt_fields = [prompt_field] if prompt_field else _template_fields(prompt_template)

    @property
    def prompt_setting(self) -> str:
        """The setting that names the prompt's fields, with its value, for messages."""
        if self.prompt_field:
            return f"prompt_field is {self.prompt_field!r}"
        return f"prompt_template is {self.prompt_template!r}"

    def example(self, record: Record, location: str, report: PreparationReport) -> Example | None:
        """The document of a record.

        Args:
            record: What a reader yields.
            location: Where it stands.
            report: Counts why there is no document or no prompt, and what the reader notes.

        Returns:
            The document, or None where the record holds no usable text.
        """
        if isinstance(record, Note):
            report.notes.add(record.reason, location)
            return None
        text = self._text(record)
        if isinstance(text, BadRecord):
            report.skips.add(text.reason, location)
            return None
        prompt = self._prompt(record, location, report) if isinstance(record, dict) else ""
        return Example(prompt, text)

    def _text(self, record: str | dict[str, Any] | BadRecord) -> str | BadRecord:
        if isinstance(record, BadRecord):
            return record
        if isinstance(record, dict):
            value = lookup(record, self.text_field)
            if value is ABSENT:
                return BadRecord(f"record has no field {self.text_field!r}")
            text = field_text(value)
            if text is None:
                return BadRecord(f"field {self.text_field!r} is no text but {_kind(value)}")
        else:
            text = record
        if reason := damage(text):
            return BadRecord(reason)
        return stripped(text) or BadRecord("text is empty")

    def _prompt(self, record: dict[str, Any], location: str, report: PreparationReport) -> str:
        """The prompt of a record; empty where it has none.

        A template keeps its words around a field without text, as long as another of its fields has some.
        """
        values: dict[str, str] = {}
        for name in self.prompt_fields:
            value = lookup(record, name)
            text = "" if value is ABSENT else field_text(value)
            if text is None or damage(text):
                fault = f"no text but {_kind(value)}" if text is None else "broken"
                report.notes.add(f"field {name!r} is {fault}: {DERIVED}", location)
                return ""
            values[name] = text
        empty = [name for name, text in values.items() if not stripped(text)]
        if len(empty) == len(values):
            for name in empty[:1]:
                report.notes.add(f"field {name!r} is absent or empty: {DERIVED}", location)
            return ""
        for name in empty:
            report.notes.add(f"field {name!r} is absent or empty: left out of the prompt", location)
            values[name] = ""
        if self.prompt_field:
            return stripped(values[self.prompt_field])
        return stripped(_TEMPLATE_PART.sub(lambda part: _filled(part, values), self.prompt_template))


class FieldCounts:
    """Counts how many records have the fields that the user named."""

    def __init__(self, fields: RecordFields) -> None:
        self.fields = fields
        self.records = self.with_text = self.with_prompt = 0
        self.names: dict[str, None] = {}  # a set that keeps its order

    def add(self, record: Record) -> None:
        """Count one record."""
        if isinstance(record, dict):
            self.records += 1
            if len(self.names) <= SHOWN_NAMES:
                self.names.update(dict.fromkeys(_names(record)))
            self.with_text += lookup(record, self.fields.text_field) is not ABSENT
            self.with_prompt += all(lookup(record, n) is not ABSENT for n in self.fields.prompt_fields)

    def check(self, path: Path | str) -> None:
        """Refuse names of fields that no record of ``path``, a file or a data set, has.

        Raises:
            UsageError: No record has the field of the text, or those of the prompt.
        """
        names = ", ".join(repr(name)[1:-1][:SHOWN_CHARACTERS] for name in list(self.names)[:SHOWN_NAMES])
        names = (names or "none") + (", …" if len(self.names) > SHOWN_NAMES else "")
        if self.records and not self.with_text:
            raise UsageError(
                f"text_field is {self.fields.text_field!r}, but no record of {path} has it; "
                f"fields found: {names}; give one of them as --text-field"
            )
        if self.records and not self.with_prompt:
            raise UsageError(
                f"{self.fields.prompt_setting}, but no record of {path} has "
                f"{' and '.join(self.fields.prompt_fields)}; fields found: {names}"
            )


def lookup(record: dict[str, Any], name: str) -> Any:
    """The value of the field ``name``, which may lead into records inside the record; else ``ABSENT``."""
    if name in record:
        return record[name]
    for dot in re.finditer(r"\.", name):
        inner = record.get(name[: dot.start()])
        if isinstance(inner, dict) and (value := lookup(inner, name[dot.end() :])) is not ABSENT:
            return value
    return ABSENT


def field_text(value: Any) -> str | None:
    """The text of a field's value: empty for null and NaN, and None where it holds several or bytes."""
    if value is None or value != value:  # NaN alone differs from itself
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if isinstance(value, list | dict | bytes) else str(value)


def _kind(value: Any) -> str:
    return "bytes" if isinstance(value, bytes) else f"a {type(value).__name__}"


def _names(record: dict[str, Any]) -> list[str]:
    """The names of a record's fields, and of those one record further in."""
    return [
        path
        for name, value in record.items()
        for path in ([f"{name}.{inner}" for inner in value] if isinstance(value, dict) else [name])
    ]


def _filled(part: re.Match[str], values: dict[str, str]) -> str:
    """What a template's part stands for: a field's value, or one brace of two."""
    return values[part[1]] if part[1] else part[0][0]


def _template_fields(template: str) -> list[str]:
    """The fields that a template such as 'Write a {label} review' names."""
    remedy = "name fields of the record in braces, for example 'Write a {label} review'"
    parts = list(_TEMPLATE_PART.finditer(template))
    if alone := next((part for part in parts if part[0] in "{}"), None):
        raise UsageError(
            f"prompt_template is {template!r}: the brace at {alone.start() + 1} names no field; {remedy}, "
            "and write {{ or }} for a brace itself"
        )
    names = list(dict.fromkeys(part[1] for part in parts if part[1]))
    if template and not names:
        raise UsageError(f"prompt_template is {template!r}, which names no field; {remedy}")
    return names
