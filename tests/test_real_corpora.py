"""The benchmark on real corpora: how files are read and asked for, and its figures against counts by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.corpora import CORPORA, read_corpus, smoke_corpora
from benchmarks.quality.real_corpora import benchmark
from benchmarks.quality.resemblance import (
    copied_ngrams,
    held_out_texts,
    learned_ngrams,
    mentioned_words,
    ngram_hashes,
    repeated_ngrams,
    telling_words,
)
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.files import FileSource
from sunfish.sampling.generated import Generated
from tests.data.corpora import quiet, small


def text(*ids: int, words: str = "", prompt: str = "") -> Generated:
    return Generated(words, prompt, True, len(ids), list(ids))


def test_each_corpus_is_read_as_its_file_has_it(tmp_path: Path) -> None:
    contents = {
        "tinystories": "one day\n<|endoftext|>\n\n<|endoftext|>a cat\u2028sat\n",
        "imdb": '{"label": "neg", "rating": 2, "text": "a\u2028b"}\n{"label": "pos", "rating": 9, "text": "c"}\n',
        "alpaca": json.dumps([{"instruction": "i", "input": "", "output": "o"}]),
    }
    for name, content in contents.items():
        path = tmp_path / CORPORA[name].path
        path.parent.mkdir()
        path.write_text(content, encoding="utf-8")
    assert read_corpus("tinystories", tmp_path) == [{"text": "one day"}, {"text": "a cat\u2028sat"}]
    reviews = read_corpus("imdb", tmp_path)
    assert [(r["sentiment"], r["text"]) for r in reviews] == [("negative", "a\u2028b"), ("positive", "c")]
    assert read_corpus("alpaca", tmp_path) == [{"instruction": "i", "input": "", "output": "o"}]


def test_a_missing_corpus_is_wrong_use_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--data",
        str(tmp_path),
        "--checkpoints",
        str(tmp_path / "runs"),
        "--corpora",
        "imdb",
        "--no-record",
    ]
    assert benchmark.main(words) == 2
    error = capsys.readouterr().err
    assert f"error: {tmp_path / 'imdb/train.jsonl'} is missing; give --data FOLDER" in error


def test_hashes_tell_ngrams_apart_and_find_equal_ones() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 4, 2000)
    grams = [tuple(ids[i : i + 5]) for i in range(len(ids) - 4)]
    hashes = ngram_hashes(ids, 5).tolist()
    assert len(hashes) == len(grams)
    assert len(set(zip(grams, hashes, strict=True))) == len(set(grams)) == len(set(hashes))
    assert len(ngram_hashes([1, 2], 3)) == 0


def test_what_is_copied_and_what_is_repeated() -> None:
    learned = np.unique(ngram_hashes([1, 2, 3, 4, 5], 3))
    assert copied_ngrams([text(2, 3, 4, 9), text(7, 8, 9)], learned, 3) == pytest.approx(100 / 3)
    assert copied_ngrams([text(1, 2)], learned, 3) is None
    # 1 2, 2 1, 1 2, 2 1: two of four come again; another text with them repeats nothing.
    assert repeated_ngrams([text(1, 2, 1, 2, 1)], 2) == pytest.approx(50)
    assert repeated_ngrams([text(1, 2), text(1, 2)], 2) == 0
    assert repeated_ngrams([text(1)], 2) is None


def test_telling_words_are_those_that_few_prompts_have() -> None:
    prompts = [f"Write a story about {word}" for word in ("kites", "Rain", "kites", *["xylophones"] * 37)]
    words = telling_words(prompts)
    assert words[:2] == [{"kites"}, {"rain"}] and words[3] == set()  # two of forty are 5%
    texts = [text(words=words) for words in ("The kites flew.", "Sun.", "A kite.", *["Xylophones!"] * 37)]
    assert mentioned_words(prompts, texts) == pytest.approx(100 / 3)
    assert mentioned_words(["Write a review"] * 40, texts) is None


def test_held_out_texts_begin_where_documents_do(tmp_path: Path) -> None:
    documents = [" ".join(f"word{i}x{j}" for j in range(1 + 17 * (i % 3))) for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": d, "p": d[:4]}) + "\n" for d in documents))
    source = FileSource(tmp_path / "a.jsonl", prompt_field="p", validation_fraction=0.5)
    prepared = prepare(source, small(tmp_path, context_length=24), quiet)
    held_out = [example.text for example in source.examples("validation")]
    texts = held_out_texts(prepared, 10)
    assert len(texts) == 10
    chosen = [held_out[i * len(held_out) // 10] for i in range(10)]
    for real, document in zip(texts, chosen, strict=True):
        assert document.startswith(real.text) and real.text and real.prompt == document[:4]
        assert real.finished == (real.text == document) and real.tokens == len(real.ids) <= 23
    assert 0 < sum(real.finished for real in texts) < 10
    everything = learned_ngrams(prepared.split("validation"), 2)
    assert copied_ngrams(texts, everything, 2) == 100


def test_the_corpora_of_the_smoke_run_are_whole() -> None:
    folder = smoke_corpora()
    assert all(len(read_corpus(name, folder)) >= 50 for name in CORPORA)
