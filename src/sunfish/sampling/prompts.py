"""What a user hands to sampling: texts and weights that cannot be right, refused in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from sunfish.config.rules import shown
from sunfish.tokenizers.base import TextTokenizer
from sunfish.utils import UsageError

MAX_CHARACTERS = 1000  # of a token; a text of more than this for each of its places is not even encoded


def checked_prompts(prompts: Iterable[str]) -> list[str]:
    """The prompts as a list.

    Raises:
        UsageError: They are no list of texts; one text alone is none either, for its letters are not meant.
    """
    if isinstance(prompts, (str, bytes)) or not isinstance(prompts, Iterable):
        raise UsageError(f"prompts is {shown(prompts)}; give a list of texts, such as ['Write about dogs']")
    rows = list(prompts)
    for number, prompt in enumerate(rows):
        check_text(f"prompts[{number}]", prompt)
    return rows


def check_text(name: str, text: str) -> None:
    """Refuse a ``text`` that is not one, or has a part that no file and no terminal can hold.

    Raises:
        UsageError: It is no string, or has a lone surrogate; any other character is ordinary text.
    """
    if not isinstance(text, str):
        raise UsageError(f"{name} is {shown(text)}; give text")
    try:
        text.encode()
    except UnicodeEncodeError as why:
        raise UsageError(
            f"{name} has a lone surrogate U+{ord(text[why.start]):04X} at character {why.start}, which is not valid "
            "Unicode; leave it out"
        ) from None


def encode_prompt(tokenizer: TextTokenizer, prompt: str, limit: int) -> list[int]:
    """The ids of a checked prompt.

    Raises:
        UsageError: It has more than ``limit`` tokens, or a character that the vocabulary cannot write.
    """
    if len(prompt) > limit * MAX_CHARACTERS:
        ids, size = [], f"{len(prompt):,} characters"
    else:
        ids = encode_text(tokenizer.encode_prompt, prompt, "the prompt")
        if len(ids) <= limit:
            return ids
        size = f"{len(ids):,} tokens"
    reason = (
        f"has room for {limit} tokens; shorten it" if limit else "was trained without prompts; leave it out"
    )
    raise UsageError(f"the prompt {shown(prompt)} has {size}, but this model {reason}")


def encode_text(encode: Callable[[str], list[int]], text: str, name: str) -> list[int]:
    """The ids of a checked text.

    Raises:
        UsageError: The vocabulary cannot write a character of it.
    """
    try:
        return encode(text)
    except ValueError as why:
        raise UsageError(f"{name} {shown(text)} cannot be encoded: {why}") from why


def check_weights(model: nn.Module) -> None:
    """Refuse a network from which nothing can be drawn.

    Raises:
        ValueError: A weight is NaN or infinite.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(
                f"the weights {name} hold NaN or infinity: the checkpoint is damaged, or its training diverged; use an "
                "earlier checkpoint"
            )
