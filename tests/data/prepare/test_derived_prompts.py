"""Prompts derived from texts that have none."""

from __future__ import annotations

from sunfish.data.prepare.derived_prompts import DocumentFrequencies
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
