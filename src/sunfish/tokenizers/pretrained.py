"""Published vocabularies: any ``tokenizer.json``, or a folder with GPT-2's vocabulary files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import models

from sunfish.tokenizers.base import TextTokenizer, byte_level_engine
from sunfish.tokenizers.native import NativeError, guarded
from sunfish.utils import UsageError

GPT2_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))  # tokens, and merges
# Radford et al. 2019; its vocabulary was learned within these pieces.
GPT2_PIECES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
MAX_LISTED_FILES = 8


def check(name: str, vocab_size: int) -> None:
    """Refuse a vocabulary that cannot be read or is larger than the model's.

    Raises:
        UsageError: The folder holds no vocabulary, or one of more than ``vocab_size`` ids.
        ValueError: The vocabulary's files cannot be read.
    """
    size = build(name, vocab_size, []).size
    if size > vocab_size:
        raise UsageError(
            f"the tokenizer {name!r} has {size} ids, but vocab_size is {vocab_size}; give --vocab_size {size}"
        )


def build(name: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """Read the vocabulary at a path.

    Args:
        name: The path of a ``tokenizer.json``, of a folder that holds one, or of a folder with
            ``encoder.json`` and ``vocab.bpe`` (or ``vocab.json`` and ``merges.txt``).
        vocab_size: Has no effect; :func:`check` compares it.
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
        model = guarded(lambda: models.BPE.from_file(str(vocabulary), str(merges)))
        return TextTokenizer(byte_level_engine(model, GPT2_PIECES))
    except (NativeError, ValueError) as error:
        raise ValueError(f"{vocabulary} and {merges} are no readable GPT-2 vocabulary: {error}") from error
