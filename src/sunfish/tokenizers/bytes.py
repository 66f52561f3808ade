"""Bytes: one id for each of the 256 byte values, plus the end mark. Encodes any text, learns nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from sunfish.tokenizers.base import END, TextTokenizer


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """257 ids, whatever ``texts``: the end mark is id 0, the byte alphabet follows."""
    if vocab_size < 257:
        raise ValueError(f"vocab_size is {vocab_size}, but bytes needs 257 (256 bytes and the end mark)")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {END: 0, **{symbol: i + 1 for i, symbol in enumerate(alphabet)}}
    engine = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    # Splitting into words first only keeps the pieces short; without merges it changes no id.
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    engine.decoder = decoders.ByteLevel()
    return TextTokenizer(engine)
