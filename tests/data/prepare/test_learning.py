"""What the preparation learns from: which texts, how many of them, and the progress that it tells."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from sunfish.data.prepare import learn
from sunfish.data.prepare.derived_prompts import PHRASINGS, DocumentFrequencies
from sunfish.data.prepare.learn import learn_tokenizer
from sunfish.data.prepare.prepare import prepare
from sunfish.tokenizers import TextTokenizer, build_tokenizer
from tests.data.corpora import Listed, quiet, small, text_of

TRAIN = [("given" if i % 3 == 1 else "", text_of(i, 6)) for i in range(600)]
VALIDATION = [("held", text_of(i, 7)) for i in range(1000, 1003)]


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, list[str]]]:
    """The kind, the size and the texts of each tokenizer that is built."""
    built: list[tuple[str, int, list[str]]] = []

    def build(kind: str, vocab_size: int, texts: Iterable[str]) -> TextTokenizer:
        built.append((kind, vocab_size, list(texts)))
        return build_tokenizer("bytes", 257, [])

    monkeypatch.setattr(learn, "build_tokenizer", build)
    return built


def test_a_tokenizer_learns_phrasings_texts_given_prompts_and_some_derived_ones(learned: list) -> None:
    source = Listed(train=TRAIN, validation=VALIDATION)
    steps: list[tuple[str, int, int | None]] = []
    _, deriver = learn_tokenizer(source, "bpe", 321, lambda *step: steps.append(step), 1)
    expected = list(PHRASINGS)
    for number, (prompt, text) in enumerate(TRAIN):
        expected += [text, prompt] if prompt else [text, deriver.derive(text)] if number % 8 == 0 else [text]
    assert learned == [("bpe", 321, expected)]
    reading = "reading a sample for the tokenizer"
    assert steps == [*((reading, n, None) for n in (256, 512, 600)), ("tokenizer bpe", 600, 600)]
    frequencies = DocumentFrequencies()
    for _, text in TRAIN:
        frequencies.add(text)
    assert (deriver.documents, deriver.counts) == (
        600,
        {w: n for w, n in frequencies.counts.items() if n > 1},
    )


def test_an_alphabet_is_learned_from_every_text_of_both_splits(
    learned: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "SAMPLE_TEXTS", 1)
    learn_tokenizer(Listed(train=TRAIN, validation=VALIDATION), "characters", 99, quiet, 1)
    parts = [part for pair in [*TRAIN, *VALIDATION] for part in pair]
    assert learned == [("characters", 99, [*PHRASINGS, *parts])]


@pytest.mark.parametrize(
    "limit, value, read",
    [
        ("SAMPLE_TEXTS", 256, 256),
        ("SAMPLE_TEXTS", 257, 512),
        ("SAMPLE_CHARACTERS", sum(len(text) for _, text in TRAIN[:512]), 512),
        ("SAMPLE_CHARACTERS", sum(len(text) for _, text in TRAIN[:512]) + 1, 600),
    ],
)
def test_a_sample_ends_with_the_chunk_that_fills_it(
    learned: list, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, read: int
) -> None:
    monkeypatch.setattr(learn, limit, value)
    steps: list[tuple[str, int, int | None]] = []
    source = Listed(train=TRAIN, validation=VALIDATION)
    _, deriver = learn_tokenizer(source, "bpe", 300, lambda *step: steps.append(step), 1)
    assert steps[-1] == ("tokenizer bpe", read, read) and deriver.documents == read


def test_a_resumed_run_learns_the_word_counts_alone(learned: list) -> None:
    source, given = Listed(train=TRAIN, validation=VALIDATION), build_tokenizer("bytes", 257, [])
    tokenizer, deriver = learn_tokenizer(source, "bpe", 300, quiet, 1, given)
    assert tokenizer is given and learned == [] and deriver.documents == 600


def test_progress_counts_the_documents_of_each_split(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int | None]] = []
    source = Listed(train=TRAIN, validation=VALIDATION)
    prepare(source, small(tmp_path, tokenizer="bytes"), lambda *step: steps.append(step), 1)
    rows = [step for step in steps if step[0].endswith("rows")]
    assert rows == [*(("train rows", n, None) for n in (256, 512, 600)), ("validation rows", 3, None)]
