"""A setting as a flag: from a field of a configuration class, its default and its help. Imports no torch."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, NamedTuple

from sunfish.commands.values import value_of
from sunfish.config.helps import field_helps
from sunfish.config.rules import shown
from sunfish.utils import UsageError

BOOLEANS = {"true": True, "false": False}


class Setting(NamedTuple):
    """One field of one group of settings; ``default`` says its type too."""

    group: str
    name: str
    default: Any
    help: str
    shows_default: bool = True

    @property
    def key(self) -> str:
        """What ``--set`` calls it."""
        return f"{self.group}.{self.name}"

    @property
    def help_text(self) -> str:
        """The help with the default, for argparse."""
        text = f"{self.help} ({self.default_text})" if self.shows_default else self.help
        return text.replace("%", "%%")

    @property
    def default_text(self) -> str:
        """The default as help shows it."""
        if isinstance(self.default, tuple):
            return " ".join(str(part) for part in self.default)
        return "empty" if self.default == "" else str(self.default)

    def add_flag(self, section: argparse._ArgumentGroup, visible: bool) -> None:
        """Add ``--name``, which leaves no value where it is not given; help shows it where ``visible``."""
        flag, kind = "--" + self.name.replace("_", "-"), type(self.default)
        options: dict[str, Any] = {
            "dest": self.name,
            "default": argparse.SUPPRESS,
            "help": self.help_text if visible else argparse.SUPPRESS,
        }
        if kind is bool:
            section.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        elif kind is tuple:
            metavar = self.name.removesuffix("s").upper()
            section.add_argument(flag, type=type(self.default[0]), nargs="+", metavar=metavar, **options)
        else:
            section.add_argument(flag, type=kind, metavar=kind.__name__.upper(), **options)

    def parse(self, text: str) -> Any:
        """The value that ``text`` means for this field.

        Raises:
            UsageError: where it means none.
        """
        kind = type(self.default)
        if kind is bool:
            if text.lower() not in BOOLEANS:
                raise UsageError(f"{self.key} is {shown(text)}: give true or false")
            return BOOLEANS[text.lower()]
        if kind is tuple:
            parts = text.replace(",", " ").split()
            return tuple(value_of(self.key, part, type(self.default[0])) for part in parts)
        return value_of(self.key, text, kind, self.name)


def settings_of(group: str, values: Any, shows_default: bool = True) -> list[Setting]:
    """The fields of the dataclass instance ``values``, with its values as their defaults."""
    helps = field_helps(values.__class__)
    return [
        Setting(group, field.name, getattr(values, field.name), helps[field.name], shows_default)
        for field in dataclasses.fields(values)
    ]
