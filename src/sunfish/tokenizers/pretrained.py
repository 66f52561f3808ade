"""Published vocabularies: any ``tokenizer.json``, or a folder with GPT-2's vocabulary files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from sunfish.tokenizers.base import TextTokenizer

PAIRS = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """Read the vocabulary at the path ``name``; nothing is learned from ``texts``.

    ``name`` is a ``tokenizer.json``, a folder that holds one, or a folder with ``encoder.json`` and
    ``vocab.bpe`` (or ``vocab.json`` and ``merges.txt``).
    """
    path = Path(name).expanduser()
    if path.is_file():
        return TextTokenizer.load(path)
    if (path / "tokenizer.json").is_file():
        return TextTokenizer.load(path / "tokenizer.json")
    for vocabulary, merges in PAIRS:
        if (path / vocabulary).is_file() and (path / merges).is_file():
            return _gpt2(path / vocabulary, path / merges)
    held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
    raise ValueError(
        f"tokenizer is {name!r}, a folder that holds {held}; it needs tokenizer.json, or encoder.json and "
        "vocab.bpe, or vocab.json and merges.txt"
    )


def _gpt2(vocabulary: Path, merges: Path) -> TextTokenizer:
    try:
        engine = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"{vocabulary} and {merges} are no readable GPT-2 vocabulary: {error}") from error
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    engine.decoder = decoders.ByteLevel()
    return TextTokenizer(engine)
