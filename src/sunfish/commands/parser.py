"""The argument parser: no abbreviations, values that begin with dashes, ``--help-all``. Imports no torch."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from sunfish.commands.settings import Setting


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, and with a suggestion for a misspelled flag.

    ``settings`` are the fields that ``--set`` accepts, by ``group.field``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})
        self.settings: dict[str, Setting] = {}

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(2, f"error: {message}\nAll flags: {self.prog} --help\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Refuse words that no flag took, and say which flag or setting was probably meant."""
        hints = "".join(self._hint(word.partition("=")[0]) for word in words if word.startswith("--"))
        self.error(f"unknown: {' '.join(words)}{hints}")

    def _hint(self, flag: str) -> str:
        name = flag.removeprefix("--").replace("-", "_")
        for setting in self.settings.values():
            if name == setting.name:
                return f"; to set this field: --set {setting.key}=VALUE"
        visible = [flag for action in self._actions for flag in action.option_strings]
        near = difflib.get_close_matches(flag.replace("_", "-"), visible, 1)
        return f"; did you mean {near[0]} instead of {flag}?" if near else ""

    def normalized(self, words: Sequence[str]) -> list[str]:
        """The words of this command as argparse understands them.

        ``--n_layer`` and ``--n-layer`` are the same flag, and the word after a flag that takes one value is
        that value, whatever it begins with. A word that is no flag of this command stays as it is, letter by
        letter.
        """
        return list(self._normalized(iter(words)))

    def _normalized(self, words: Iterator[str]) -> Iterator[str]:
        actions = {flag: action for action in self._actions for flag in action.option_strings}
        for word in words:
            if word == "--":
                yield word
                yield from words
                return
            name, equals, value = word.partition("=")
            flag = name.replace("_", "-")
            if not word.startswith("--") or flag not in actions:
                yield word
            elif equals or actions[flag].nargs is not None:
                yield flag + equals + value
            else:
                following = next(words, None)
                yield flag if following is None else f"{flag}={following}"

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # argparse drops "--" from the words of a flag, even where it is the value.
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    def help_all(self) -> str:
        """The usual help, then every field that ``--set`` accepts, by group."""
        groups: dict[str, list[Setting]] = {}
        for setting in self.settings.values():
            groups.setdefault(setting.group, []).append(setting)
        formatter = self._get_formatter()
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
