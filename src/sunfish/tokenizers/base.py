"""The one tokenizer class: a Hugging Face ``tokenizers.Tokenizer`` with exact, loud edges.

Whatever its kind (byte-level BPE, bytes, characters, a published vocabulary), a tokenizer is a single
``tokenizer.json``, so that a checkpoint carries one file and nothing has to be registered anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Encoding
from tokenizers import Tokenizer as Engine

END = "<|endoftext|>"
ENDS = (END, "</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "[SEP]")  # end marks of published vocabularies


class TextTokenizer:
    """Text to ids and back.

    ``size`` is the number of ids, ``end`` the id that begins and ends every text. The end mark is a control
    id only: the characters ``<|endoftext|>`` in a user's text are encoded as ordinary text, so no text can
    end a document.
    """

    def __init__(self, engine: Engine) -> None:
        """Wrap ``engine``; a vocabulary without any known end mark gets ``<|endoftext|>`` as its last id."""
        engine.no_padding()
        engine.no_truncation()
        end = next((mark for mark in ENDS if engine.token_to_id(mark) is not None), None)
        # (Re-)registering it as special keeps its id and keeps it out of decoded text.
        engine.add_special_tokens([end or END])
        engine.encode_special_tokens = True  # not stored in tokenizer.json, hence set on every load
        self.engine = engine
        self.end: int = engine.get_vocab(with_added_tokens=True)[end or END]
        self.size: int = max(engine.get_vocab(with_added_tokens=True).values()) + 1
        unknown = getattr(engine.model, "unk_token", None)
        self.unknown: int | None = engine.token_to_id(unknown) if unknown else None
        """The id that a published vocabulary puts in place of what it cannot write, if it has one."""
        if self.size > engine.get_vocab_size(with_added_tokens=True):
            missing = self.size - engine.get_vocab_size(with_added_tokens=True)
            raise ValueError(
                f"the vocabulary has {missing} holes below its largest id {self.size - 1}; repair its files"
            )

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``, without end marks. ``ValueError`` for what the vocabulary cannot write."""
        return self._run(text).ids

    def encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """The engine's encodings of many texts at once, which also know the characters that each id covers."""
        try:
            return self.engine.encode_batch(list(texts), add_special_tokens=False)
        except Exception:
            return [self._run(text) for text in texts]  # names the text that is to blame

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``. End marks print nothing; an id outside the vocabulary is a ``ValueError``."""
        known = [int(i) for i in ids]
        for i in known:
            if not 0 <= i < self.size:
                raise ValueError(
                    f"token id {i} is outside the vocabulary of {self.size} ids (0 to {self.size - 1})"
                )
        return self.engine.decode([i for i in known if i != self.end], skip_special_tokens=False)

    def save(self, path: str | Path) -> None:
        """Write ``path`` (a ``tokenizer.json``)."""
        self.engine.save(str(path))

    @staticmethod
    def load(path: str | Path) -> TextTokenizer:
        """Read a ``tokenizer.json``; ``ValueError`` where it is missing or is none."""
        if not Path(path).is_file():
            raise ValueError(f"there is no tokenizer at {path}; give a tokenizer.json")
        try:
            engine = Engine.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{path} is not a readable tokenizer.json: {error}") from error
        return TextTokenizer(engine)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _from_json, (self.engine.to_str(),)

    def _run(self, text: str) -> Encoding:
        try:
            return self.engine.encode(text, add_special_tokens=False)
        except Exception as error:
            raise ValueError(_why(self.engine, text, error)) from error


def _from_json(text: str) -> TextTokenizer:
    return TextTokenizer(Engine.from_str(text))


def _why(engine: Engine, text: str, error: Exception) -> str:
    """Name the character that could not be encoded, where there is one."""
    if not isinstance(text, str):
        return f"text to encode is {type(text).__name__}, not a string"
    for at, character in enumerate(text):
        if 0xD800 <= ord(character) < 0xE000:
            return (
                f"text has a lone surrogate U+{ord(character):04X} at character {at}; it is no valid Unicode"
            )
    for at, character in enumerate(text):
        try:
            engine.encode(character, add_special_tokens=False)
        except Exception:
            return (
                f"character {character!r} (U+{ord(character):04X}) at position {at} is not in the vocabulary "
                f"of {engine.get_vocab_size()} ids; use a tokenizer that covers it, such as bpe or bytes"
            )
    return f"text cannot be encoded: {error}"
