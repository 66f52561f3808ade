"""From values to words of a command line, and what a command takes and prints."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from sunfish.cli import build_parser, main
from sunfish.commands.flags import EVERYDAY, PUBLISHED
from sunfish.config import Config
from tests.settings.values import flag_of, text_of

Patch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
Record = dict[str, Any]


def given(values: Record, groups: dict[str, str], as_flags: bool) -> list[str]:
    """The values as flags, or by ``--set`` where there is no flag or none is wanted."""
    words: list[str] = []
    for name, value in values.items():
        has_flag = as_flags and name in EVERYDAY | PUBLISHED
        words += flag_of(name, value) if has_flag else ["--set", f"{groups[name]}.{name}={text_of(value)}"]
    return words


def printed(words: list[str], capsys: Capture) -> Config:
    """The configuration that a command prints."""
    assert main([*words, "--print-config"]) == 0
    return Config.from_dict(json.loads(capsys.readouterr().out))


def flags(command: str) -> set[str]:
    """The names of all that ``command`` takes but the fields of configurations, help, and ``--set``."""
    parser = build_parser()[1][command]
    fields = {setting.name for setting in parser.settings.values()}
    names = {action.dest for action in parser._actions if action.dest != argparse.SUPPRESS}
    return names - fields - {"help", "set"}
