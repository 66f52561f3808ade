"""Learns from the beginning of a corpus what encodes it: the tokenizer, and the word counts for derived prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain

from sunfish.config import Config
from sunfish.data.prepare.derived_prompts import PHRASINGS, DocumentFrequencies, PromptDeriver
from sunfish.data.prepare.encode import DocumentEncoder
from sunfish.data.prepare.ordered_map import ordered_map
from sunfish.data.prepare.progress import OnProgress
from sunfish.data.sources.base import CHUNK_DOCUMENTS, SPLITS, Chunk, LocatedExample, Source
from sunfish.tokenizers import TextTokenizer, build_tokenizer, check_tokenizer, whole_corpus
from sunfish.types import Example

# What a tokenizer learns from, whichever comes first.
SAMPLE_TEXTS, SAMPLE_CHARACTERS = 20_000, 10_000_000
DERIVED_PROMPT_STRIDE = 8  # of so many texts without a prompt, the tokenizer learns from one derived prompt


def learn_encoder(
    source: Source,
    config: Config,
    on_progress: OnProgress,
    workers: int,
    prompt_tokenizer: TextTokenizer | None = None,
    tokenizer: TextTokenizer | None = None,
) -> DocumentEncoder:
    """What encodes the documents of ``source``.

    Args:
        source: The corpus.
        config: The tokenizer, and the lengths of vocabulary, rows and prompts.
        on_progress: Called with the progress.
        workers: Number of processes; 0: every core.
        prompt_tokenizer: Encodes the prompts where they have a vocabulary of their own.
        tokenizer: That of the run, if it has one.

    Raises:
        UsageError: The tokenizer does not exist, or ``vocab_size`` is too small for it.
    """
    kind, vocab_size = config.corpus.tokenizer, config.model.vocab_size
    if tokenizer is None:
        check_tokenizer(kind, vocab_size)
    tokenizer, deriver = learn_tokenizer(source, kind, vocab_size, on_progress, workers, tokenizer)
    return DocumentEncoder(
        tokenizer,
        prompt_tokenizer or tokenizer,
        deriver,
        config.model.context_length,
        config.model.prompt_length,
        is_long_text=source.long_text,
    )


def learn_tokenizer(
    source: Source,
    kind: str,
    vocab_size: int,
    on_progress: OnProgress,
    workers: int,
    tokenizer: TextTokenizer | None = None,
) -> tuple[TextTokenizer, PromptDeriver]:
    """Learn from the first texts of the training split.

    Args:
        source: The corpus.
        kind: The tokenizer: a name or a path.
        vocab_size: Ids of a trained tokenizer at most.
        on_progress: Called with the progress.
        workers: Number of processes; 0: every core.
        tokenizer: That of the run, if it has one: then only the word counts are learned.

    Returns:
        The tokenizer, and what derives prompts.

    Raises:
        UsageError: The tokenizer does not exist, or ``vocab_size`` is too small for it.
    """
    sample = _read_sample(source, on_progress, workers)
    frequencies = DocumentFrequencies()
    for example in sample:
        frequencies.add(example.text)
    deriver = frequencies.prompt_deriver()
    if tokenizer is not None:
        return tokenizer, deriver
    texts: Iterable[str] = _sample_texts(sample, deriver)
    if whole_corpus(kind):
        texts = chain(PHRASINGS, _corpus_texts(source, workers))  # derived prompts add only these letters
    on_progress(f"tokenizer {kind}", len(sample), len(sample))
    return build_tokenizer(kind, vocab_size, texts), deriver


def _read_sample(source: Source, on_progress: OnProgress, workers: int) -> list[Example]:
    sample: list[Example] = []
    characters = 0
    with closing(ordered_map(_read, source.chunks("train", CHUNK_DOCUMENTS), workers)) as chunks:
        for documents in chunks:
            sample.extend(example for _, example in documents)
            characters += sum(len(example.text) for _, example in documents)
            on_progress("reading a sample for the tokenizer", len(sample), None)
            if len(sample) >= SAMPLE_TEXTS or characters >= SAMPLE_CHARACTERS:
                break
    return sample


def _sample_texts(sample: list[Example], deriver: PromptDeriver) -> Iterator[str]:
    """Prompts and texts, so that the words of prompts become tokens too, and each letter of the phrasings."""
    yield from PHRASINGS
    for number, example in enumerate(sample):
        yield example.text
        if example.prompt:
            yield example.prompt
        elif number % DERIVED_PROMPT_STRIDE == 0:
            yield deriver.derive(example.text)


def _corpus_texts(source: Source, workers: int) -> Iterator[str]:
    """All prompts and texts of both splits."""
    chunks = chain.from_iterable(source.chunks(split, CHUNK_DOCUMENTS) for split in SPLITS)
    for documents in ordered_map(_read, chunks, workers):
        for _, example in documents:
            yield example.prompt
            yield example.text


def _read(chunk: Chunk) -> list[LocatedExample]:
    return chunk()
