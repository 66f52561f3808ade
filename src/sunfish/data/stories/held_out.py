"""Owns the pairs of a topic and a place that are held out: they occur in the compositional split only."""

from __future__ import annotations

from functools import cache
from zlib import crc32

from sunfish.data.stories import lexicon as lx

_ONE_IN = 20


def is_held_out(topic: str, place: str) -> bool:
    """Whether the pair occurs in the compositional split only."""
    return crc32(f"{topic} {place}".encode()) % _ONE_IN == 0


@cache
def held_out_places(topic: str) -> frozenset[int]:
    """The numbers of the places that are held out for `topic`."""
    return frozenset(n for n, place in enumerate(lx.PLACE_WORDS) if is_held_out(topic, place))
