"""Published vocabularies: any ``tokenizer.json``, or a folder with GPT-2's vocabulary files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tokenizers import models

from sunfish.tokenizers.base import TextTokenizer, byte_level_engine, check_file_size
from sunfish.tokenizers.native import NativeError, NativePanic, guarded
from sunfish.utils import UsageError

GPT2_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))  # tokens, and merges
# Radford et al. 2019; its vocabulary was learned within these pieces.
GPT2_PIECES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
MAX_LISTED_FILES = 8
MAX_SECONDS = 60  # to read a vocabulary; the largest published ones take a few
MAX_BYTES = 8 * 2**30  # of address space for it
SPECIMEN = "the 1"
USAGE = 2  # exit status for a wrong use


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
    check_readable(path)
    return read(path)


def check_readable(path: Path) -> None:
    """Read a vocabulary and write a text with it in a process of its own.

    A damaged or hostile file can abort the process that reads it, take its memory, or hold it for hours.

    Raises:
        UsageError: The folder holds no vocabulary.
        ValueError: The vocabulary cannot be read, or cannot be used.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RUST_BACKTRACE": "0"}
    try:
        tried = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import try_vocabulary as t; t()", str(path)],
            env=environment,
            capture_output=True,
            timeout=MAX_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"{path} is no usable vocabulary: it takes over {MAX_SECONDS} seconds to read; repair it"
        ) from None
    answer = tried.stdout.decode(errors="replace").strip()
    if tried.returncode == USAGE:
        raise UsageError(answer)
    if tried.returncode:
        reason = (
            answer or f"{path} is no usable vocabulary: the tokenizers library breaks down over it; repair it"
        )
        raise ValueError(reason)


def try_vocabulary() -> None:
    """The program of :func:`check_readable`'s process: says on stdout what is wrong."""
    if sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = MAX_BYTES if most == resource.RLIM_INFINITY else min(MAX_BYTES, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    try:
        tokenizer = read(Path(sys.argv[1]))
        tokenizer.decode(range(min(tokenizer.size, 100)))
        if tokenizer.size < 2:
            raise ValueError("it has no token besides the end mark")
        _write_specimen(tokenizer)
    except UsageError as error:
        print(error)
        sys.exit(USAGE)
    except ValueError as error:
        reason = str(error)
        print(
            reason if sys.argv[1] in reason else f"{sys.argv[1]} is no usable vocabulary: {reason}; repair it"
        )
        sys.exit(1)


def _write_specimen(tokenizer: TextTokenizer) -> None:
    try:
        tokenizer.encode(SPECIMEN)
    except ValueError as error:  # an alphabet may lack the letters
        if isinstance(error.__cause__, NativePanic):
            raise


def read(path: Path) -> TextTokenizer:
    """The vocabulary at a path that :func:`check_readable` has tried; see :func:`build`."""
    if path.is_file():
        return TextTokenizer.load(path)
    if (path / "tokenizer.json").is_file():
        return TextTokenizer.load(path / "tokenizer.json")
    for vocabulary, merges in GPT2_FILES:
        if (path / vocabulary).is_file() and (path / merges).is_file():
            return _gpt2(path / vocabulary, path / merges)
    names = ", ".join(sorted(p.name for p in path.iterdir())[:MAX_LISTED_FILES]) or "nothing"
    raise UsageError(
        f"tokenizer is {str(path)!r}, a folder that holds {names}; it needs tokenizer.json, or encoder.json and "
        "vocab.bpe, or vocab.json and merges.txt"
    )


def _gpt2(vocabulary: Path, merges: Path) -> TextTokenizer:
    check_file_size(vocabulary)
    check_file_size(merges)
    try:
        model = guarded(lambda: models.BPE.from_file(str(vocabulary), str(merges)))
        return TextTokenizer(byte_level_engine(model, GPT2_PIECES))
    except (NativeError, ValueError) as error:
        raise ValueError(f"{vocabulary} and {merges} are no readable GPT-2 vocabulary: {error}") from error
