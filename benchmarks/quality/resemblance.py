"""Owns how generated texts compare with held-out ones: what they repeat, copy, and mention of their prompts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics import distinct_ngrams, finished, percent
from sunfish.data.dataset import PreparedCorpus, PreparedSplit
from sunfish.sampling.generated import Generated
from sunfish.training.shown_prompts import decode_prompt

COPIED, REPEATED = 8, 4  # tokens in a row
COMMON = 0.05  # a word in a larger share of the prompts belongs to their phrasing
WORD = re.compile(r"[^\W\d_]{4,}")
MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that no token of an n-gram is lost
Hashes = NDArray[np.uint64]


def held_out_texts(prepared: PreparedCorpus, count: int) -> list[Generated]:
    """The beginnings of held-out texts at even distances, at most a context long, as if they were generated."""
    split, end, tokenizer = prepared.split("validation"), prepared.tokenizer.end, prepared.prompt_tokenizer
    rows = [split.row(index)[1:].tolist() for index in range(len(split))]
    ended = [row[-1] == end for row in rows]
    beginnings = [index for index in range(len(rows)) if index == 0 or ended[index - 1]]
    count = min(count, len(beginnings))
    texts = []
    for index in (beginnings[i * len(beginnings) // count] for i in range(count)):
        ids = rows[index][:-1] if ended[index] else rows[index]
        prompt = decode_prompt(tokenizer, split.prompt(index).tolist(), split.prompt_length)
        texts.append(Generated(prepared.tokenizer.decode(ids), prompt, ended[index], len(ids), ids))
    return texts


def ngram_hashes(ids: Sequence[int] | NDArray[np.int64], n: int) -> Hashes:
    """A 64-bit hash of each n-gram: a polynomial of its ids, modulo 2^64."""
    row = np.asarray(ids, dtype=np.uint64)
    if len(row) < n:
        return np.empty(0, dtype=np.uint64)
    powers = np.array([pow(MULTIPLIER, k + 1, 1 << 64) for k in range(n)], dtype=np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(row + np.uint64(1), n)
    return np.asarray((windows * powers).sum(axis=1, dtype=np.uint64))


def learned_ngrams(split: PreparedSplit, n: int = COPIED) -> Hashes:
    """The hashes of all n-grams within the rows of a split, sorted, each once."""
    hashes = [ngram_hashes(split.row(index)[1:], n) for index in range(len(split))]
    return np.unique(np.concatenate(hashes))


def copied_ngrams(texts: Sequence[Generated], learned: Hashes, n: int = COPIED) -> float | None:
    """Percentage of the texts' n-grams that stand in the text that was learned; None without n-grams."""
    grams = np.concatenate([ngram_hashes(text.ids, n) for text in texts])
    return 100 * float(np.isin(grams, learned).mean()) if len(grams) else None


def repeated_ngrams(texts: Sequence[Generated], n: int = REPEATED) -> float | None:
    """Percentage of n-grams that the same text has had before; None without n-grams."""
    grams = [[tuple(text.ids[i : i + n]) for i in range(len(text.ids) - n + 1)] for text in texts]
    total = sum(map(len, grams))
    return 100 * (1 - sum(len(set(row)) for row in grams) / total) if total else None


def telling_words(prompts: Sequence[str]) -> list[set[str]]:
    """The words of four letters or more of each prompt, in lower case, without those of the phrasing."""
    words = [set(WORD.findall(prompt.lower())) for prompt in prompts]
    counts = Counter(word for prompt in words for word in prompt)
    most = max(1, COMMON * len(prompts))
    return [{word for word in prompt if counts[word] <= most} for prompt in words]


def mentioned_words(prompts: Sequence[str], texts: Sequence[Generated]) -> float | None:
    """Percentage of the prompts' telling words that their texts have; None where the prompts have none."""
    pairs = zip(telling_words(prompts), texts, strict=True)
    found = [word in text.text.lower() for words, text in pairs for word in sorted(words)]
    return percent(found) if found else None


def text_figures(texts: Sequence[Generated], learned: Hashes) -> dict[str, float | None]:
    """All figures of one set of texts, generated or real."""
    prompts = [text.prompt for text in texts]
    return {
        "finished": finished(texts),
        "tokens_per_text": sum(text.tokens for text in texts) / len(texts),
        "distinct_3": distinct_ngrams(texts, 3),
        "repeated_4": repeated_ngrams(texts),
        "copied_8": copied_ngrams(texts, learned),
        "mentioned": mentioned_words(prompts, texts),
        "mentioned_shuffled": mentioned_words([*prompts[1:], *prompts[:1]], texts),
    }
