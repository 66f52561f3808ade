"""Finds a tokenizer by its name: each kind is one file here with ``build(name, vocab_size, texts)``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from sunfish.tokenizers.base import END_OF_TEXT, TextTokenizer
from sunfish.utils import UsageError

NO_KINDS = ("base", "native", "pretrained")  # files of this folder that are no kind of their own

__all__ = [
    "END_OF_TEXT",
    "TextTokenizer",
    "build_tokenizer",
    "check_tokenizer",
    "tokenizer_kinds",
    "whole_corpus",
]


def tokenizer_kinds() -> list[str]:
    """The names that ``--tokenizer`` takes besides a path: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NO_KINDS)


def build_tokenizer(kind: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """The tokenizer of a kind, trained where the kind is one that learns.

    Args:
        kind: A name, or the path of a published vocabulary.
        vocab_size: Ids of a trained tokenizer at most.
        texts: What it learns from.

    Returns:
        The tokenizer.

    Raises:
        UsageError: ``kind`` is neither a name nor a path that exists, or ``vocab_size`` is too small for it.
        ValueError: A vocabulary at a path cannot be read, or there is no text to learn from.
    """
    tokenizer: TextTokenizer = _module(kind).build(kind, vocab_size, texts)
    return tokenizer


def check_tokenizer(kind: str, vocab_size: int) -> None:
    """Refuse what :func:`build_tokenizer` would refuse, as far as that can be known without a text.

    Args:
        kind: A name, or the path of a published vocabulary.
        vocab_size: Ids at most.

    Raises:
        UsageError: ``kind`` is neither a name nor a path that exists, or ``vocab_size`` is too small for it.
        ValueError: A vocabulary at a path cannot be read.
    """
    module = _module(kind)
    if hasattr(module, "check"):
        module.check(kind, vocab_size)


def whole_corpus(kind: str) -> bool:
    """Whether a tokenizer must see every text of the corpus, where a sample is enough for the others.

    Args:
        kind: A name, or the path of a published vocabulary.

    Raises:
        UsageError: ``kind`` is neither a name nor a path that exists.
    """
    return getattr(_module(kind), "WHOLE_CORPUS", False)


def _module(kind: str) -> ModuleType:
    if kind in tokenizer_kinds():
        return importlib.import_module(f"{__name__}.{kind}")
    if kind and Path(kind).expanduser().exists():
        return importlib.import_module(f"{__name__}.pretrained")
    raise UsageError(
        f"tokenizer is {kind!r}, neither a kind ({', '.join(tokenizer_kinds())}) nor a path that exists; "
        "give a kind, a tokenizer.json, or a folder with encoder.json and vocab.bpe"
    )
