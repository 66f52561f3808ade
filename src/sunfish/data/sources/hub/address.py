"""Owns the address of a data set on the hub: ``hf:OWNER/NAME[:CONFIG][:SPLIT]``."""

from __future__ import annotations

from typing import NamedTuple

from sunfish.config.data import HUB
from sunfish.config.rules import shown
from sunfish.hub import check_name
from sunfish.utils import UsageError


class Address(NamedTuple):
    """What ``--data hf:…`` names.

    Attributes:
        repository: ``OWNER/NAME``.
        words: What follows the name: none, one that is a configuration or a split, or the two; empty for the default.
    """

    repository: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return HUB + ":".join((self.repository, *self.words))


def parse_address(data: str) -> Address:
    """The address that ``data`` spells.

    Args:
        data: ``hf:OWNER/NAME``, and after a colon each the configuration and the split.

    Raises:
        UsageError: It is spelled otherwise.
    """
    repository, *words = data.removeprefix(HUB).split(":")
    if len(words) > 2:
        raise UsageError(f"data is {shown(data)}; write {HUB}OWNER/NAME:CONFIG:SPLIT, the last two if needed")
    return Address(check_name(repository), tuple(words))
