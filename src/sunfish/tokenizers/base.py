"""The one tokenizer class: a Hugging Face ``tokenizers.Tokenizer`` whose errors name what is wrong.

Whatever its kind (byte-level BPE, bytes, characters, a published vocabulary), a tokenizer is a single
``tokenizer.json``, so that a checkpoint carries one file and nothing has to be registered anywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from tokenizers import Encoding, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Engine

from sunfish.tokenizers.native import NativeError, NativePanic, guarded, interruptible
from sunfish.utils import UsageError

END_OF_TEXT = "<|endoftext|>"
# The end marks of published vocabularies, the first that a vocabulary has counts.
KNOWN_END_MARKS = (END_OF_TEXT, "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "[SEP]")
BYTE_VOCAB_SIZE = 257  # the 256 bytes and the end mark
MAX_BYTES = 2**28  # of a file of a vocabulary; the largest published ones have a tenth of it
LONG_TEXT = 100_000  # characters; encoding more takes long enough to be interrupted
# The pieces that merges stay within, as GPT-2's (Radford et al. 2019), but a letter keeps its marks, numbers have at
# most three digits, and no piece is longer than 64: merging is quadratic in a piece, and DNA has no spaces.
LETTERS = r"(?:\p{L}[\p{M}\x{200C}\x{200D}]{0,8}){1,64}"
PIECES = rf"'(?:[sdmt]|ll|ve|re)| ?{LETTERS}| ?\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]{{1,64}}|\s{{1,64}}(?!\S)|\s{{1,64}}"
Form = Literal["NFC", "NFD"]


class TextTokenizer:
    """Text to ids and back.

    The end mark is a control id only: the characters ``<|endoftext|>`` in a user's text are encoded as
    ordinary text, so no text can end a document.

    Attributes:
        size: Number of ids.
        end: The id that begins and ends every text.
        unknown: The id that a published vocabulary puts in place of what it cannot write, or None.
    """

    def __init__(self, engine: Engine) -> None:
        """Wrap ``engine``; a vocabulary without any known end mark gets ``<|endoftext|>`` as its last id.

        Raises:
            ValueError: Some ids below the largest one are of no token, or of two.
        """
        engine.no_padding()
        engine.no_truncation()
        engine.post_processor = None  # would add marks of its own, or leave the text out
        if getattr(engine.model, "dropout", None):
            engine.model.dropout = None  # would give one text different ids
        known = (mark for mark in KNOWN_END_MARKS if engine.token_to_id(mark) is not None)
        end_mark = next(known, END_OF_TEXT)
        # (Re-)registering it as special keeps its id and keeps it out of decoded text.
        engine.add_special_tokens([end_mark])
        engine.encode_special_tokens = True  # not stored in tokenizer.json, hence set on every load
        vocabulary = engine.get_vocab(with_added_tokens=True)
        self.engine = engine
        self.end: int = vocabulary[end_mark]
        self.size: int = max(vocabulary.values()) + 1
        unknown_token = getattr(engine.model, "unk_token", None)
        self.unknown: int | None = engine.token_to_id(unknown_token) if unknown_token else None
        ids = set(vocabulary.values())
        if len(ids) < len(vocabulary):
            raise ValueError(
                f"{len(vocabulary) - len(ids)} tokens of the vocabulary share an id; repair its files"
            )
        if missing := self.size - len(ids):
            raise ValueError(
                f"the vocabulary has {missing} holes below its largest id {self.size - 1}; repair its files"
            )

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without end marks.

        Args:
            text: Any text that the vocabulary can write.

        Raises:
            ValueError: The vocabulary cannot write a character of it.
        """
        return self._encoding(text).ids

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of a prompt; letters that the vocabulary lacks are tried in the other normal form (NFC, NFD).

        Args:
            text: What a person typed, in whatever form the keyboard made.

        Raises:
            ValueError: The vocabulary cannot write a character of it in either form.
        """
        try:
            return self.encode(text)
        except ValueError:
            if (form := _writable_form(self.engine, text)) is None:
                raise
            return self.encode(unicodedata.normalize(form, text))

    def encodings(self, texts: Sequence[str], offsets: bool = True) -> list[Encoding]:
        """The engine's encodings of many texts at once.

        Args:
            texts: Any texts that the vocabulary can write.
            offsets: Whether an encoding must know the characters that each id covers, which takes longer.

        Raises:
            ValueError: The vocabulary cannot write a character of one of them.
        """
        batch = self.engine.encode_batch if offsets else self.engine.encode_batch_fast
        encode = partial(batch, list(texts), add_special_tokens=False)
        try:
            if sum(map(len, texts)) <= LONG_TEXT:
                return guarded(encode)
            return guarded(partial(interruptible, encode))
        except (NativeError, TypeError):  # one by one, the text to blame is named
            return [self._encoding(text) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; end marks print nothing.

        Args:
            ids: Numbers from 0 to ``size - 1``.

        Raises:
            ValueError: An id is outside the vocabulary, or the vocabulary's decoder fails.
        """
        numbers = [int(i) for i in ids]
        for number in numbers:
            if not 0 <= number < self.size:
                raise ValueError(
                    f"token id {number} is outside the vocabulary of {self.size} ids (0 to {self.size - 1})"
                )
        kept = [number for number in numbers if number != self.end]
        try:
            return guarded(lambda: self.engine.decode(kept, skip_special_tokens=False))
        except NativeError as error:
            raise ValueError(f"{len(kept)} ids cannot be decoded: {error}") from error

    @cached_property
    def spaced_ids(self) -> list[int]:
        """The ids whose text begins with a space that more follows: none where a space is a token by itself.

        Some vocabularies write the space only between two tokens, so each id is decoded after itself.
        """
        ids = [number for number in range(self.size) if number != self.end]
        alone = guarded(lambda: self.engine.decode_batch([[i] for i in ids], skip_special_tokens=False))
        twice = guarded(lambda: self.engine.decode_batch([[i, i] for i in ids], skip_special_tokens=False))
        return [
            number
            for number, one, two in zip(ids, alone, twice, strict=True)
            if one.strip(" ") and (one.startswith(" ") or two == f"{one} {one}")
        ]

    def save(self, path: str | Path) -> None:
        """Write the tokenizer to ``path``, a ``tokenizer.json``."""
        self.engine.save(str(path))

    @staticmethod
    def load(path: str | Path) -> TextTokenizer:
        """Read a ``tokenizer.json``.

        Args:
            path: The file.

        Raises:
            UsageError: The file does not exist.
            ValueError: It is no tokenizer.
        """
        if not Path(path).is_file():
            raise UsageError(f"there is no tokenizer at {path}; give a tokenizer.json")
        check_file_size(Path(path))
        try:
            return TextTokenizer(guarded(lambda: Engine.from_file(str(path))))
        except (NativeError, ValueError) as error:
            raise ValueError(f"{path} is not a readable tokenizer.json: {error}") from error

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _from_json, (self.engine.to_str(),)

    def _encoding(self, text: str) -> Encoding:
        try:
            if isinstance(text, str) and len(text) > LONG_TEXT:
                return guarded(
                    lambda: interruptible(lambda: self.engine.encode(text, add_special_tokens=False))
                )
            return guarded(lambda: self.engine.encode(text, add_special_tokens=False))
        except NativePanic as error:
            raise ValueError(f"the vocabulary breaks down over the text {text[:40]!r}: {error}") from error
        except NativeError as error:
            raise ValueError(_explain(self.engine, text, error)) from error


def check_file_size(path: Path) -> None:
    """Refuse a file of a vocabulary that would take all memory.

    Raises:
        ValueError: It has more than ``MAX_BYTES``.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {size:,} bytes, but a vocabulary has at most {MAX_BYTES:,}; repair it")


def byte_level_engine(model: models.BPE, pieces: str = PIECES) -> Engine:
    """An engine for the bytes of a text, without a space before it: decoding is exact.

    Args:
        model: Its alphabet is that of ``ByteLevel``.
        pieces: Regular expression of what merges stay within.
    """
    engine = Engine(model)
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    engine.decoder = decoders.ByteLevel()
    return engine


def check_room_for_bytes(kind: str, vocab_size: int) -> None:
    """Refuse a vocabulary that cannot hold every byte.

    Raises:
        UsageError: ``vocab_size`` is below ``BYTE_VOCAB_SIZE``.
    """
    if vocab_size < BYTE_VOCAB_SIZE:
        raise UsageError(
            f"vocab_size is {vocab_size}, but {kind} needs at least {BYTE_VOCAB_SIZE} "
            "(256 bytes and the end mark)"
        )


def _from_json(text: str) -> TextTokenizer:
    return TextTokenizer(Engine.from_str(text))


def _writes(engine: Engine, text: str) -> bool:
    try:
        guarded(lambda: engine.encode(text, add_special_tokens=False))
    except NativeError:
        return False
    return True


def _writable_form(engine: Engine, text: str) -> Form | None:
    """The normal form in which the vocabulary can write ``text``, if there is one."""
    forms: tuple[Form, ...] = ("NFC", "NFD")
    return next((form for form in forms if _writes(engine, unicodedata.normalize(form, text))), None)


def _explain(engine: Engine, text: str, error: NativeError) -> str:
    """Why ``text`` could not be encoded: the character to blame, where there is one."""
    if not isinstance(text, str):
        return f"text to encode is {type(text).__name__}, not a string"
    characters = dict.fromkeys(text)
    for character in characters:
        if 0xD800 <= ord(character) < 0xE000:
            position = text.index(character)
            return f"text has a lone surrogate U+{ord(character):04X} at character {position}; it is no valid Unicode"
    for character in characters:
        if not _writes(engine, character):
            form = _writable_form(engine, text)
            return (
                f"character {character!r} (U+{ord(character):04X}) at position {text.index(character)} is not in the "
                f"vocabulary of {engine.get_vocab_size()} ids; "
                + (f"it is in the form {form}: normalize the text to it, or use " if form else "use ")
                + "a tokenizer that covers it, such as bpe or bytes"
            )
    return f"text cannot be encoded: {error}"
