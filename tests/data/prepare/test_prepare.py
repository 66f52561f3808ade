"""Preparation: the folder, its prompts, what is counted and refused, what repeats exactly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from sunfish.data.dataset import report
from sunfish.data.prepare.derived_prompts import PHRASINGS
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.data.sources.base import SPLITS
from sunfish.data.sources.stories import StoriesSource
from sunfish.tokenizers import build_tokenizer
from sunfish.utils import UsageError
from tests.data.corpora import WORDS, quiet, records, small, text_of


def test_rows_are_texts_between_end_marks(make) -> None:
    prepared = make(
        records(20), tokenizer="bytes", context_length=200, prompt_field="label", prompt_length=20
    )
    end, documents = prepared.tokenizer.end, set()
    for name in SPLITS:
        split = prepared.split(name)
        for i in range(len(split)):
            row = split.row(i)
            assert row.dtype == np.int64 and row[0] == row[-1] == end and end not in row[1:-1]
            text = prepared.tokenizer.decode(row)
            assert split.lengths[i] == len(row) == len(text.encode()) + 2
            assert split.bytes[i] == len(text.encode())
            documents.add((text, prepared.tokenizer.decode(split.prompt(i))))
    assert documents == {(r["text"], r["label"]) for r in records(20)}


def test_prompts_are_never_missing(make) -> None:
    texts = ["1 2 3", "?!", "日本", "a", "the and of", *(text_of(i, 9) for i in range(20))]
    prepared = make([{"text": text} for text in texts])
    for name in SPLITS:
        split = prepared.split(name)
        assert all(1 <= len(split.prompt(i)) <= 8 for i in range(len(split)))
    assert sum(counts["derived_prompts"] for counts in prepared.manifest["splits"].values()) == len(texts)
    assert "prompts derived" in report(prepared)


def test_long_prompts_are_cut_and_counted(make) -> None:
    prepared = make([{"text": text_of(i, 5), "p": "word " * 50} for i in range(10)], prompt_field="p")
    assert prepared.manifest["splits"]["train"]["truncated_prompts"] == 8
    assert "8 prompts cut to prompt_length 8" in report(prepared)


def test_skips_and_notes_reach_the_manifest_and_the_report(make) -> None:
    given = [*records(12), {"text": ""}, {"other": 1}, {"text": "promptless text"}]
    prepared = make(given, prompt_field="label")
    assert prepared.manifest["skips"]["text is empty"] == {"count": 1, "places": ["corpus.jsonl:13"]}
    text = report(prepared)
    assert "left out: 1 x record has no field 'text' (corpus.jsonl:14)" in text
    assert "prompt derived from the text (corpus.jsonl:15)" in text


def test_a_text_outside_a_published_alphabet_is_a_counted_skip(make, tmp_path: Path) -> None:
    alphabet = ["".join(r["text"] for r in records(12)) + "".join(PHRASINGS)]
    build_tokenizer("characters", 400, alphabet).save(tmp_path / "letters.json")
    given = [*({"text": 2 * record["text"]} for record in records(12)), {"text": "ж"}]
    prepared = make(given, tokenizer=str(tmp_path / "letters.json"))
    reason = "not encodable: character 'ж' (U+0436)"
    assert prepared.manifest["skips"] == {reason: {"count": 1, "places": ["corpus.jsonl:13"]}}


def test_more_characters_than_the_vocabulary_name_the_size_that_suffices(make) -> None:
    given = [{"text": chr(0x4E00 + i) + chr(0x4F00 + i)} for i in range(200)]
    size = len(set("".join(record["text"] for record in given) + "".join(PHRASINGS))) + 1
    with pytest.raises(
        UsageError, match=rf"vocab_size is {size - 1}, .*; give --vocab_size {size},"
    ) as caught:
        make(given, tokenizer="characters", vocab_size=size - 1)
    assert len(str(caught.value)) < 250
    assert make(given, tokenizer="characters", vocab_size=size).manifest["skips"] == {}


@pytest.mark.parametrize("kind", ["bpe", "bytes", "a file"])
def test_a_vocabulary_that_is_too_small_is_refused_before_any_text_is_read(make, kind: str, tmp_path) -> None:
    if kind == "a file":
        kind = str(tmp_path / "bytes.json")
        build_tokenizer("bytes", 300, []).save(kind)
    with pytest.raises(UsageError, match=r"vocab_size is 10\b.*257"):
        make([{"text": ""}], tokenizer=kind, vocab_size=10)  # without a text: what reads them fails otherwise


def test_what_a_vocabulary_replaces_is_noted(make, tmp_path: Path) -> None:
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "Document", ".", *WORDS, *map(str, range(12))])}
    engine = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    engine.save(str(tmp_path / "words.json"))
    prepared = make([*records(12), {"text": "Document zyzzyva"}], tokenizer=str(tmp_path / "words.json"))
    (note,) = prepared.manifest["notes"].values()
    assert note == {"count": 1, "places": ["corpus.jsonl:13"]} and "unknown token" in report(prepared)


def test_an_alphabet_covers_the_phrasings_of_derived_prompts(make) -> None:
    given = [{"text": " ".join(WORDS[i : i + 3])} for i in range(10)] * 2
    prepared = make(given, tokenizer="characters")
    split = prepared.split("train")
    prompts = [prepared.tokenizer.decode(split.prompt(i)) for i in range(len(split))]
    assert any(prompt[0].isupper() for prompt in prompts)  # the texts have no capital


def test_an_alphabet_without_the_letters_of_the_phrasings_still_gets_prompts(make, tmp_path: Path) -> None:
    build_tokenizer("characters", 3, ["日本"]).save(tmp_path / "two.json")
    given = [{"text": "日本" * (i + 1)} for i in range(10)]
    split = make(given, tokenizer=str(tmp_path / "two.json")).split("train")
    assert len(split) == 8 and all(len(split.prompt(i)) for i in range(8))


def test_copies_never_lie_on_both_sides(make) -> None:
    prepared = make(records(30) + records(30))
    assert prepared.manifest["overlap"] == 0
    counts = prepared.manifest["splits"].values()
    assert sum(split["documents"] for split in counts) == 60
    assert sum(split["distinct"] for split in counts) == 30


def test_a_tokenizer_larger_than_the_model_names_the_remedy(make, tmp_path: Path) -> None:
    build_tokenizer("bytes", 300, []).save(tmp_path / "bytes.json")
    with pytest.raises(UsageError, match=r"has 257 ids, but vocab_size is 100; give --vocab_size 257"):
        make(records(10), tokenizer=str(tmp_path / "bytes.json"), vocab_size=100)
    assert not any((tmp_path / "data").iterdir()), "a failed preparation leaves nothing behind"


def test_an_unknown_tokenizer_is_refused_before_any_work(make, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tokenizer is 'bpee'"):
        make(records(10), tokenizer="bpee")
    assert not (tmp_path / "data").exists()


def test_the_same_settings_find_the_folder_again(make) -> None:
    first = make(records(10))
    manifest = first.folder / "manifest.json"
    written = manifest.stat().st_mtime_ns
    assert make(records(10)).folder == first.folder and manifest.stat().st_mtime_ns == written
    assert make(records(10), context_length=64).folder != first.folder
    assert make(records(10), prompt_field="label").folder != first.folder
    assert make(records(11)).folder != first.folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "stories"])
def test_the_content_does_not_depend_on_the_number_of_workers(tmp_path: Path, kind: str) -> None:
    hashes = set()
    for workers in (1, 2):
        config = small(tmp_path, data_folder=str(tmp_path / f"data{workers}"))
        if kind == "files":
            path = tmp_path / "corpus.jsonl"
            if not path.exists():
                path.write_text("".join(json.dumps(r) + "\n" for r in records(900)))
            config = config.with_fields(data=str(path))
            source = open_source(config.corpus, 0)
        else:
            source = StoriesSource(seed=1, train_count=600, validation_count=50)
        prepared = prepare(source, config, quiet, workers)
        hashes.add((prepared.folder.name, json.dumps(prepared.manifest["files"])))
    assert len(hashes) == 1


def test_progress_is_told_and_plain_lines_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    steps = []
    source = StoriesSource(seed=1, train_count=120, validation_count=20)
    config = small(tmp_path, tokenizer="bytes")
    prepare(source, config, lambda *step: steps.append(step), 1)
    assert ("train rows", 120, 120) in steps and ("validation rows", 20, 20) in steps
    prepare(source, config.with_fields(context_length=64), None, 1)
    captured = capsys.readouterr()
    assert "train rows: 120 of 120 documents" in captured.err and not captured.out
