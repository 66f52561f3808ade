"""Bytes: one id for each of the 256 byte values, plus the end mark. Encodes any text, learns nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import models, pre_tokenizers

from sunfish.tokenizers.base import END_OF_TEXT, TextTokenizer, byte_level_engine, check_room_for_bytes

check = check_room_for_bytes


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """257 ids: the end mark is id 0, the byte alphabet follows.

    Args:
        name: ``bytes``.
        vocab_size: At least 257.
        texts: Has no effect.

    Returns:
        The tokenizer.

    Raises:
        UsageError: ``vocab_size`` has no room for every byte.
    """
    check_room_for_bytes(name, vocab_size)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {END_OF_TEXT: 0, **{symbol: i + 1 for i, symbol in enumerate(alphabet)}}
    # The engine divides a text into words first. Without merges that changes no id and keeps the pieces short.
    return TextTokenizer(byte_level_engine(models.BPE(vocab=vocabulary, merges=[])))
