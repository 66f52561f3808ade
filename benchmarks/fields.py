"""Owns the flags of ``sunfish train`` that a benchmark takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sunfish.commands.flags import add_config_flags, given_fields
from sunfish.commands.parser import Parser


def training_fields(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The preset and the fields that flags of ``sunfish train`` name."""
    parser = Parser(prog="sunfish train")
    add_config_flags(parser)
    arguments, unknown = parser.parse_known_args(parser.normalized(words))
    if unknown:
        parser.refuse(unknown)
    arguments.parser = parser
    return arguments.config or "", given_fields(arguments)
