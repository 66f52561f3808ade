"""Characters: one id for each character of the corpus, plus the end mark."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from sunfish.tokenizers.base import END_OF_TEXT, TextTokenizer
from sunfish.utils import UsageError

WHOLE_CORPUS = True  # an alphabet is complete only when every text was seen


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """Every character of ``texts``, in code point order, after the end mark.

    A character outside that alphabet cannot be encoded: a ``ValueError`` that names it, never a substitute.

    Args:
        name: ``characters``.
        vocab_size: Ids at most, the end mark included.
        texts: What the alphabet is taken from.

    Returns:
        The tokenizer.

    Raises:
        UsageError: The texts have more characters than ``vocab_size`` has room for.
        ValueError: The texts have no characters.
    """
    alphabet: set[str] = set()
    for text in texts:
        alphabet.update(text)
    if not alphabet:
        raise ValueError(
            f"tokenizer is {name!r}, but the corpus has no characters to learn from; give it texts"
        )
    if len(alphabet) + 1 > vocab_size:
        raise UsageError(
            f"vocab_size is {vocab_size}, but the corpus has {len(alphabet):,} different characters; "
            f"give --vocab_size {len(alphabet) + 1}, which has room for them and the end mark, or --tokenizer bpe"
        )
    vocabulary = {END_OF_TEXT: 0, **{character: i + 1 for i, character in enumerate(sorted(alphabet))}}
    # The vocabulary lacks this token, so that the engine fails at an unknown character and replaces nothing.
    engine = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unknown character>"))
    engine.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    engine.decoder = decoders.Fuse()
    return TextTokenizer(engine)
