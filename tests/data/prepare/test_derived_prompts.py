"""Prompts derived from texts that have none."""

from __future__ import annotations

import hashlib

from sunfish.data.prepare.derived_prompts import (
    ONE_WORD_PHRASINGS,
    TWO_WORD_PHRASINGS,
    DocumentFrequencies,
    PromptDeriver,
)
from tests.data.corpora import WORDS, text_of


def test_derived_prompts_name_salient_words_and_depend_on_the_text_alone() -> None:
    frequencies = DocumentFrequencies()
    texts = [text_of(i, 6) + " They were there with something." for i in range(60)]
    for text in texts:
        frequencies.add(text)
    deriver = frequencies.prompt_deriver()
    prompts = [deriver.derive(text) for text in texts]
    assert prompts == [deriver.derive(text) for text in texts]
    named = [p for p, text in zip(prompts, texts, strict=True) if not text.startswith(p)]
    assert len(named) > 0.6 * len(texts)
    assert all(any(word in prompt for word in WORDS) for prompt in named)
    assert not any("something" in prompt or "They" in prompt for prompt in named)
    assert len({prompt.split()[0] for prompt in named}) > 2  # varied phrasings
    beginnings = [p for p, text in zip(prompts, texts, strict=True) if text.startswith(p)]
    assert beginnings and all(3 <= len(p.split()) <= 8 for p in beginnings)
    assert deriver.derive("zyzzyva") and deriver.derive("...")


def test_the_hash_of_a_text_chooses_its_prompt() -> None:
    """One text in seven begins with itself; of the others three in eight name one word, and the rest two."""
    deriver = PromptDeriver(10, {"violin": 2, "harbour": 3, "lantern": 1})
    kinds = set()
    for number in range(300):
        # Two documents have the violin, so it says most; one alone has the lantern, too few to learn it from.
        text = f"lantern harbour violin {number} a b c d e f g h i j"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        if digest[0] < 256 // 7:
            kind, expected = "beginning", " ".join(text.split()[: 3 + digest[1] % 6])
        elif digest[2] >= 96:
            pair = ("violin", "harbour") if digest[4] % 2 else ("harbour", "violin")
            kind, expected = "two", TWO_WORD_PHRASINGS[digest[3] % 5].format(a=pair[0], b=pair[1])
        else:
            kind, expected = "one", ONE_WORD_PHRASINGS[digest[3] % 5].format(a="violin")
        assert deriver.derive(text) == expected
        kinds.add(kind)
    assert kinds == {"beginning", "one", "two"}


def test_a_word_of_a_single_document_is_not_counted() -> None:
    frequencies = DocumentFrequencies()
    for text in ("harbour violin", "harbour garden violin", "harbour lantern"):
        frequencies.add(text)
    deriver = frequencies.prompt_deriver()
    assert (deriver.documents, deriver.counts) == (3, {"harbour": 3, "violin": 2})
