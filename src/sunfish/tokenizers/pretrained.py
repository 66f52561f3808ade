"""Published vocabularies: any ``tokenizer.json``, or a folder with GPT-2's vocabulary files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import models

from sunfish.tokenizers.base import TextTokenizer, byte_level_engine
from sunfish.utils import UsageError

GPT2_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))  # tokens, and merges
MAX_LISTED_FILES = 8


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """Read the vocabulary at a path.

    Args:
        name: The path of a ``tokenizer.json``, of a folder that holds one, or of a folder with
            ``encoder.json`` and ``vocab.bpe`` (or ``vocab.json`` and ``merges.txt``).
        vocab_size: Has no effect; the caller compares it.
        texts: Has no effect.

    Returns:
        The tokenizer.

    Raises:
        UsageError: The folder holds no vocabulary.
        ValueError: The vocabulary's files cannot be read.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return TextTokenizer.load(path)
    if (path / "tokenizer.json").is_file():
        return TextTokenizer.load(path / "tokenizer.json")
    for vocabulary, merges in GPT2_FILES:
        if (path / vocabulary).is_file() and (path / merges).is_file():
            return _gpt2(path / vocabulary, path / merges)
    names = ", ".join(sorted(p.name for p in path.iterdir())[:MAX_LISTED_FILES]) or "nothing"
    raise UsageError(
        f"tokenizer is {name!r}, a folder that holds {names}; it needs tokenizer.json, or encoder.json and "
        "vocab.bpe, or vocab.json and merges.txt"
    )


def _gpt2(vocabulary: Path, merges: Path) -> TextTokenizer:
    try:
        model = models.BPE.from_file(str(vocabulary), str(merges))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"{vocabulary} and {merges} are no readable GPT-2 vocabulary: {error}") from error
    return TextTokenizer(byte_level_engine(model))
