"""Characters: one id for each character of the corpus, plus the end mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from sunfish.tokenizers.base import END, TextTokenizer

WHOLE_CORPUS = True  # an alphabet is complete only when every text was seen


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """The ``vocab_size - 1`` most frequent characters of ``texts``, in code point order, after the end mark.

    A character outside that alphabet cannot be encoded: a ``ValueError`` that names it, never a substitute.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    if not counts:
        raise ValueError("tokenizer is 'characters', but the corpus has no characters to learn from")
    kept = sorted(counts, key=lambda c: (-counts[c], c))[: vocab_size - 1]
    vocabulary = {END: 0, **{c: i + 1 for i, c in enumerate(sorted(kept))}}
    # The vocabulary lacks this token, so that the engine fails at an unknown character and replaces nothing.
    engine = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unknown character>"))
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    engine.decoder = decoders.Fuse()
    return TextTokenizer(engine)
