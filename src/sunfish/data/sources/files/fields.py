"""Owns how a record becomes a document: which field is its text, and which fields make its prompt."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from sunfish.data.report import PreparationReport
from sunfish.data.sources.files.records import BadRecord, Record, is_valid_unicode
from sunfish.types import Example
from sunfish.utils import UsageError


class RecordFields:
    """The fields that the user named, by which records are read."""

    def __init__(self, text_field: str, prompt_field: str, prompt_template: str) -> None:
        """Take the names of fields.

        Args:
            text_field: The field of the text.
            prompt_field: The field of the prompt; empty: none.
            prompt_template: A prompt with fields in braces; empty: none.

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
            report: Counts why there is no document, or no prompt.

        Returns:
            The document, or None where the record holds no usable text.
        """
        text = self._text(record)
        if isinstance(text, BadRecord):
            report.skips.add(text.reason, location)
            return None
        prompt = self._prompt(record, location, report) if isinstance(record, dict) else ""
        return Example(prompt, text)

    def _text(self, record: Record) -> str | BadRecord:
        text: Any = record
        if isinstance(record, dict):
            if self.text_field not in record:
                return BadRecord(f"record has no field {self.text_field!r}")
            text = record[self.text_field]
        if isinstance(text, BadRecord):
            return text
        if not isinstance(text, str):
            return BadRecord(f"field {self.text_field!r} is no text")
        if not is_valid_unicode(text):
            return BadRecord("text is no valid UTF-8")
        return text.strip() or BadRecord("text is empty")

    def _prompt(self, record: dict[str, Any], location: str, report: PreparationReport) -> str:
        if not self.prompt_fields:
            return ""
        values = {name: record.get(name) for name in self.prompt_fields}
        for name, value in values.items():
            if value is None or not str(value).strip() or not is_valid_unicode(str(value)):
                reason = f"field {name!r} is absent, empty or broken: prompt derived from the text"
                report.notes.add(reason, location)
                return ""
        if self.prompt_field:
            return str(values[self.prompt_field]).strip()
        return self.prompt_template.format(**values).strip()


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
            self.names.update(dict.fromkeys(record))
            self.with_text += self.fields.text_field in record
            self.with_prompt += all(name in record for name in self.fields.prompt_fields)

    def check(self, path: Path) -> None:
        """Refuse names of fields that no record of ``path`` has.

        Raises:
            UsageError: No record has the field of the text, or those of the prompt.
        """
        names = ", ".join(map(str, self.names)) or "none"
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


def _template_fields(template: str) -> list[str]:
    """The fields that a template such as 'Write a {label} review' names."""
    remedy = "name fields of the record in braces, for example 'Write a {label} review'"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"prompt_template is {template!r} ({error}); {remedy}") from error
    names = list(dict.fromkeys(name for _, name, _, _ in parts if name is not None))
    if template and (not names or not all(name.isidentifier() for name in names)):
        raise UsageError(f"prompt_template is {template!r}, which names no field; {remedy}")
    return names
