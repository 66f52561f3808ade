"""Byte-level BPE, trained on the corpus: the default. Encodes any text; trains in seconds."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sunfish.tokenizers.base import END, TextTokenizer

SMALLEST = 257  # the 256 bytes and the end mark


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """Learn merges from ``texts`` until there are ``vocab_size`` ids (Sennrich et al. 2016; on bytes as in
    GPT-2).

    No space is put before a text, so that decoding returns exactly the text. A corpus with few different
    words yields fewer ids than asked for.
    """
    if vocab_size < SMALLEST:
        raise ValueError(
            f"vocab_size is {vocab_size}, but bpe needs at least {SMALLEST} (256 bytes and the end mark)"
        )
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer=trainer)
    return TextTokenizer(engine)
