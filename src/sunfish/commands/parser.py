"""The argument parser: no abbreviations, values that begin with dashes, ``--help-all``. Imports no torch."""

from __future__ import annotations

import argparse
import copy
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from sunfish.commands.settings import Setting
from sunfish.commands.values import value_of
from sunfish.config.rules import did_you_mean, shown
from sunfish.utils import UsageError, log

# Published flags that have a newer form: they work, but only --help-all shows them.
HIDDEN = {
    "cpu": "the same as --device cpu",
    "mode": "generate, or infill: the same as sunfish infill",
    "text": "with --mode infill: a text with gaps",
    "scheduler": "the same as --sampler ddpm, --sampler ddim",
}
VALUE = "\0"  # before a value; no argument of a program can hold this character


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, and with a suggestion for a misspelled flag.

    ``settings`` are the fields that ``--set`` accepts, by ``group.field``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})
        self.settings: dict[str, Setting] = {}

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(2, f"error: {' '.join(message.split())}; all flags: {self.prog} --help\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Refuse words that no flag took, and say which flag or setting was probably meant."""
        hints = "".join(self._hint(word.partition("=")[0]) for word in words if word.startswith("--"))
        self.error(f"unknown: {shown(' '.join(words))[1:-1]}{hints}")

    def _hint(self, flag: str) -> str:
        name = flag.removeprefix("--").replace("-", "_")
        word = shown(flag)[1:-1]
        for setting in self.settings.values():
            if name == setting.name:
                return f"; to set this field: --set {setting.key}=VALUE"
        known = [flag for action in self._actions for flag in action.option_strings]
        near = difflib.get_close_matches(flag.replace("_", "-"), known, 1)
        return f"; did you mean {near[0]} instead of {word}?" if near else ""

    def normalized(self, words: Sequence[str]) -> list[str]:
        """The words of this command as argparse understands them.

        ``--n_layer`` and ``--n-layer`` are the same flag, and the words after a flag that takes one value, or
        a number of them, are its values, whatever they begin with. They get a ``VALUE`` mark, so that
        argparse takes none for a flag. A word that is no flag of this command stays as it is.
        """
        left = list(reversed(words))
        result: list[str] = []
        given: dict[str, str] = {}
        while left:
            word = left.pop()
            if word == "--":
                return [*result, word, *reversed(left)]
            flag, equals, value = self._flag(word)
            if flag is None:
                result.append(word)
                continue
            action = self._option_string_actions[flag]
            if equals and action.nargs == 0:
                self.error(f"{flag} takes no value, but {shown(value)} was given; write {flag}")
            count = action.nargs if isinstance(action.nargs, int) else 1
            if equals and count:
                left.append(VALUE + value)
            values = [self._value(flag, action, left) for _ in range(count)]
            result += [flag, *values]
            if isinstance(action, argparse._StoreAction) and given.setdefault(flag, values[0]) != values[0]:
                log(f"note: {flag} is given twice; the last one counts: {shown(values[0][1:])}")
        return result

    def knows(self, word: str) -> bool:
        """Whether ``word`` is a flag of this parser, in either spelling."""
        return self._flag(word)[0] is not None

    def _flag(self, word: str) -> tuple[str | None, str, str]:
        """The flag that ``word`` begins with, in the spelling of argparse, and the value after its ``=``."""
        name, equals, value = word.partition("=")
        flag = name.replace("_", "-")
        return (flag if flag in self._option_string_actions else None), equals, value

    def _value(self, flag: str, action: argparse.Action, left: list[str]) -> str:
        """Take the next value of ``flag``; a flag of this command in its place is a forgotten value."""
        form = f"{flag} {self._get_formatter()._format_args(action, action.dest.upper())}"
        if not left:
            self.error(f"{flag} has no value; write {form}")
        word = left.pop()
        if word.startswith(VALUE):
            return word
        if self.knows(word) and not any(letter.isspace() for letter in word):
            self.error(f"{flag} has no value; write {form}, or {flag}={word} if {word} is meant as the value")
        return VALUE + word

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if isinstance(action, argparse._SubParsersAction):  # the command and all of its words
            return arg_string
        name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
        kind = action.type if isinstance(action.type, type) else str
        try:
            return value_of(name, arg_string.removeprefix(VALUE), kind, action.dest)
        except UsageError as why:
            self.error(str(why))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
            choices = ", ".join(str(choice) for choice in action.choices)
            hint = did_you_mean(value, action.choices)
            self.error(f"{name} is {shown(value)}; the choices are: {choices}{hint}")

    def help_all(self) -> str:
        """The usual help, then the hidden flags, then every field that ``--set`` accepts, by group."""
        groups: dict[str, list[Setting]] = {}
        for setting in self.settings.values():
            groups.setdefault(setting.group, []).append(setting)
        formatter = self._get_formatter()
        formatter.start_section("flags that only --help-all shows")
        helps = {setting.name: setting.help_text for setting in self.settings.values()} | HIDDEN
        for action in self._actions:
            if action.help == argparse.SUPPRESS:
                published = copy.copy(action)
                published.help = helps[action.dest]
                formatter.add_argument(published)
        formatter.end_section()
        for group, settings in groups.items():
            formatter.start_section(f"{group} (--set {group}.FIELD=VALUE)")
            formatter.add_arguments(
                [argparse.Action([], s.name, metavar=s.name, help=s.help_text) for s in settings]
            )
            formatter.end_section()
        return f"{self.format_help()}\n{formatter.format_help()}"


class HelpAll(argparse.Action):
    """Print :meth:`Parser.help_all` and exit."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, Parser)
        print(parser.help_all())
        parser.exit()
