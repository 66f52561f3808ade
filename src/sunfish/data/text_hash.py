"""Owns the hash of a text: the same in every process and on every machine."""

from __future__ import annotations

import hashlib


def text_digest(text: str) -> bytes:
    """Eight bytes that depend on ``text`` alone."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()


def text_hash(text: str) -> int:
    """A number from 0 to 2**64 - 1 that depends on ``text`` alone."""
    return int.from_bytes(text_digest(text), "big")
