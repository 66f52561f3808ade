"""Byte-level BPE, trained on the corpus: the default. Encodes any text; trains in seconds."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import models, pre_tokenizers, trainers

from sunfish.tokenizers.base import END_OF_TEXT, TextTokenizer, byte_level_engine, check_room_for_bytes
from sunfish.tokenizers.native import interruptible

MAX_VOCAB_SIZE = 1_000_000  # the trainer reserves memory for as many; no sample of a corpus has more pieces

check = check_room_for_bytes


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """Learn merges from ``texts`` until there are ``vocab_size`` ids.

    Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units"; on bytes as in
    GPT-2, within the pieces of ``base.PIECES``.

    Args:
        name: ``bpe``.
        vocab_size: Ids at most; a corpus with few different words yields fewer.
        texts: What is learned from.

    Returns:
        The tokenizer.

    Raises:
        UsageError: ``vocab_size`` has no room for every byte.
    """
    check_room_for_bytes(name, vocab_size)
    engine = byte_level_engine(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocab_size, MAX_VOCAB_SIZE),
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = list(
        texts
    )  # read in this thread: an abandoned one must not run Python while the interpreter ends
    interruptible(lambda: engine.train_from_iterator(texts, trainer=trainer))
    return TextTokenizer(engine)
