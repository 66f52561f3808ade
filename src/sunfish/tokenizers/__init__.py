"""Finds a tokenizer by its name: each kind is one file here with ``build(name, vocab_size, texts)``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from sunfish.tokenizers.base import END, TextTokenizer

__all__ = ["END", "TextTokenizer", "build_tokenizer", "tokenizer_kinds", "whole_corpus"]


def tokenizer_kinds() -> list[str]:
    """The names that ``--tokenizer`` takes besides a path: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in ("base", "pretrained"))


def build_tokenizer(kind: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
    """The tokenizer ``kind``, a name or the path of a vocabulary; a trained one has at most ``vocab_size``
    ids."""
    return _module(kind).build(kind, vocab_size, texts)


def whole_corpus(kind: str) -> bool:
    """Whether ``kind`` must see every text of the corpus, where a sample is enough for the others."""
    return getattr(_module(kind), "WHOLE_CORPUS", False)


def _module(kind: str) -> ModuleType:
    if kind in tokenizer_kinds():
        return importlib.import_module(f"{__name__}.{kind}")
    if kind and Path(kind).expanduser().exists():
        return importlib.import_module(f"{__name__}.pretrained")
    raise ValueError(
        f"tokenizer is {kind!r}, neither a kind ({', '.join(tokenizer_kinds())}) nor a path that exists; "
        "give a kind, a tokenizer.json, or a folder with encoder.json and vocab.bpe"
    )
