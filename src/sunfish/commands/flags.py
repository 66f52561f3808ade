"""Flags from the configuration's fields, and back: where words become settings. Imports no torch."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from sunfish.config import Config
from sunfish.config.presets import PRESETS, preset

BaseConfig = Callable[[str], Config]
DEFAULT = "micro"


class WrongUse(ValueError):
    """A flag or a value that cannot be right, whatever the machine and the files: exit code 2."""


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, and with a suggestion for a misspelt flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\nAll flags: {self.prog} --help\n")

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """Refuse words that no flag took, with the flag that was probably meant."""
        known = [flag for action in self._actions for flag in action.option_strings]
        near = {word: difflib.get_close_matches(word.split("=")[0], known, 1) for word in words}
        meant = "".join(
            f"; did you mean {flag} instead of {w}?" for w, found in near.items() for flag in found
        )
        self.error(f"unknown: {' '.join(words)}{meant}")


def kebab(words: Sequence[str]) -> list[str]:
    """``--n_layer`` and ``--n-layer`` are the same flag; values stay as they are."""
    result: list[str] = []
    for at, word in enumerate(words):
        if word == "--":
            return result + list(words[at:])
        name, equals, value = word.partition("=")
        result.append(name.replace("_", "-") + equals + value if name.startswith("--") else word)
    return result


def groups() -> dict[str, Any]:
    """The configuration's groups by name, with the values of the preset that a run without ``--config`` has."""
    config = preset(DEFAULT)
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def field_help() -> dict[str, str]:
    """The string below each field of the configuration's classes, by field name."""
    found: dict[str, str] = {}
    for group in groups().values():
        definition = ast.parse(inspect.getsource(type(group))).body[0]
        assert isinstance(definition, ast.ClassDef)
        for line, after in pairwise(definition.body):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                value = getattr(after, "value", None)
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[line.target.id] = " ".join(value.value.split())
    return found


def add_config_flags(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """``--config NAME`` and one flag for each field (or for ``names``); a flag not given leaves no value."""
    parser.add_argument("--config", choices=PRESETS, help=f"the preset to begin with ({DEFAULT})")
    wanted = None if names is None else set(names)
    helps = field_help()
    for title, values in groups().items():
        chosen = [f for f in dataclasses.fields(values) if wanted is None or f.name in wanted]
        group = parser.add_argument_group(f"{title} (defaults are those of {DEFAULT})") if chosen else None
        for field in chosen:
            assert group is not None
            flag, default = "--" + field.name.replace("_", "-"), getattr(values, field.name)
            text = f"{helps.get(field.name, '')} ({_shown(default)})".replace("%", "%%")
            options: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": text}
            if isinstance(default, bool):
                group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
            elif isinstance(default, tuple):
                group.add_argument(
                    flag, type=type(default[0]), nargs="*", metavar=field.name[:-1].upper(), **options
                )
            else:
                group.add_argument(
                    flag, type=type(default), metavar=type(default).__name__.upper(), **options
                )


def given_fields(arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration fields whose flags were given."""
    names = {f.name for values in groups().values() for f in dataclasses.fields(values)}
    values = {name: value for name, value in vars(arguments).items() if name in names}
    if getattr(arguments, "cpu", False):
        values["device"] = "cpu"
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def config_of(arguments: argparse.Namespace) -> Config:
    """What ``--config`` names, with the given flags set. ``WrongUse`` for a bad value."""
    try:
        return arguments.base(arguments.config or DEFAULT).with_fields(**given_fields(arguments))
    except ValueError as error:
        raise WrongUse(str(error)) from error


def print_config(config: Config) -> None:
    """The resolved configuration on stdout, as JSON (which is YAML as well)."""
    print(json.dumps(config.to_dict(), indent=2))


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """One line for the person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(str(part) for part in default)
    return "empty" if default == "" else str(default)
