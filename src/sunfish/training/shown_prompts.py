"""The held-out prompts whose texts a run shows."""

from __future__ import annotations

from sunfish.data.dataset import PreparedCorpus
from sunfish.tokenizers.base import TextTokenizer

SHOWN_PROMPTS = 2


def shown_prompts(prepared: PreparedCorpus, limit: int) -> list[str]:
    """Held-out prompts, first to last, of at most ``limit`` tokens; none for a model without prompts."""
    split = prepared.split("validation")
    count = min(SHOWN_PROMPTS, len(split)) if limit else 0
    rows = [i * (len(split) - 1) // max(1, count - 1) for i in range(count)]
    return [decode_prompt(prepared.prompt_tokenizer, split.prompt(i).tolist(), limit) for i in rows]


def decode_prompt(tokenizer: TextTokenizer, ids: list[int], limit: int) -> str:
    """The prompt as text of at most ``limit`` tokens.

    It is shortened until it encodes to that many: half a letter decodes to a replacement mark of more tokens.
    """
    text = tokenizer.decode(ids)
    while len(tokenizer.encode(text)) > limit:
        text = text[:-1]
    return text
