"""Every count of a prepared corpus against a recount by hand: documents, rows, tokens, bytes, prompts, hashes."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from sunfish.config.presets import preset
from sunfish.data.dataset import open_prepared, report
from sunfish.data.prepare.prepare import prepare, prepared_folder
from sunfish.data.sources import open_source
from sunfish.data.sources.base import SPLITS
from sunfish.tokenizers import TextTokenizer, build_tokenizer
from tests.data.corpora import Listed, quiet, records, small

CONTEXT, PROMPT = 32, 8


def rows_by_hand(length: int) -> list[int]:
    """The positions of each row of an ASCII text of so many bytes."""
    rows = []
    while length > CONTEXT - 2:
        taken = min(CONTEXT - 1, length - 1)
        rows.append(1 + taken)
        length -= taken
    return [*rows, length + 2]


@pytest.mark.parametrize("length", [1, 30, 31, 32, 61, 62, 63, 200])
def test_windows_of_each_length(length: int) -> None:
    """The hand count itself: all bytes, one start mark a row, one end mark a text."""
    rows = rows_by_hand(length)
    assert sum(rows) == length + len(rows) + 1 and max(rows) <= CONTEXT
    assert len(rows) == 1 or set(rows[:-2]) <= {CONTEXT}


DOCUMENTS = {
    "train": [
        *[("", "a" * n) for n in (1, 29, 30, 31, 32, 62, 100)],
        *[("short", "b" * n) for n in (30, 70)],
        *[("exactly8", "c" * n) for n in (5, 6)],
        *[("longer than eight", "d" * n) for n in (9, 40, 41)],
        ("", "a" * 29),
    ],
    "validation": [("", "a" * 29), ("p", "a" * 100), ("longer than eight", "v" * 33), ("", "v")],
}


def counts_by_hand(documents: list[tuple[str, str]]) -> dict[str, int]:
    rows = [rows_by_hand(len(text)) for _, text in documents]
    return {
        "documents": len(documents),
        "distinct": len({text for _, text in documents}),
        "rows": sum(map(len, rows)),
        "tokens": sum(map(sum, rows)),
        "bytes": sum(len(text) for _, text in documents),
        "cut_documents": sum(len(row) > 1 for row in rows),
        "windows": sum(len(row) for row in rows if len(row) > 1),
        "derived_prompts": sum(not prompt for prompt, _ in documents),
        "truncated_prompts": sum(len(prompt) > PROMPT for prompt, _ in documents),
    }


def test_the_manifest_and_the_report_count_as_a_hand_does(tmp_path: Path) -> None:
    config = small(tmp_path, tokenizer="bytes")
    prepared = prepare(Listed(**DOCUMENTS), config, quiet, 1)
    text = report(prepared)
    lines = [f"{prepared.folder}: tokenizer bytes, 257 ids"]
    for name in SPLITS:
        hand = counts_by_hand(DOCUMENTS[name])
        counts = prepared.manifest["splits"][name]
        # A text without words has no prompt that fits eight bytes, so derived ones are cut as well.
        assert counts["truncated_prompts"] >= hand.pop("truncated_prompts")
        assert {key: counts[key] for key in hand} == hand and set(counts) == {*hand, "truncated_prompts"}
        split = prepared.split(name)
        assert split.lengths[:].tolist() == [n for _, t in DOCUMENTS[name] for n in rows_by_hand(len(t))]
        assert int(split.bytes[:].sum()) == hand["bytes"] and len(split.bytes) == hand["rows"]
        lines.append(
            f"{name}: {hand['documents']} documents ({hand['distinct']} distinct), {hand['rows']} rows, "
            f"{hand['tokens']} tokens, {hand['bytes'] / hand['tokens']:.2f} bytes a token"
        )
        lines.append(
            f"  {hand['cut_documents']} longer than the context of 32: cut into {hand['windows']} windows"
        )
        lines.append(f"  {hand['derived_prompts']} prompts derived from the text")
        lines.append(f"  {counts['truncated_prompts']} prompts cut to prompt_length 8")
    lines.append("warning: 2 validation texts are training texts as well")  # of 29 and of 100 letters
    assert text.splitlines() == lines


def test_without_prompts_the_given_ones_are_counted(tmp_path: Path) -> None:
    config = small(tmp_path, tokenizer="bytes", prompt_length=0)
    counts = prepare(Listed(**DOCUMENTS), config, quiet, 1).manifest["splits"]
    given = {name: sum(bool(prompt) for prompt, _ in DOCUMENTS[name]) for name in SPLITS}
    assert {name: counts[name]["truncated_prompts"] for name in SPLITS} == given
    assert all(counts[name]["derived_prompts"] == 0 for name in SPLITS)


def test_given_prompts_belong_to_every_row_of_their_document(tmp_path: Path) -> None:
    given = [(f"p{i}", chr(97 + i) * (10 + 9 * i)) for i in range(9)]
    prepared = prepare(
        Listed(train=given, validation=given[:2]), small(tmp_path, tokenizer="bytes"), quiet, 1
    )
    split, decode = prepared.split("train"), prepared.tokenizer.decode
    for i in range(len(split)):
        letter = decode(split.row(i))[0]
        assert decode(split.prompt(i)) == f"p{ord(letter) - 97}"


def test_each_derived_prompt_comes_from_its_own_text(tmp_path: Path) -> None:
    """Each text has one word, which no other text has, and is cut into rows."""
    words = [letter * 5 for letter in "abcdefgh"]
    given = [("", " ".join([word] * 12)) for word in words]
    config = small(tmp_path, tokenizer="bytes", prompt_length=60)
    prepared = prepare(Listed(train=given, validation=given[:1]), config, quiet, 1)
    split, decode = prepared.split("train"), prepared.tokenizer.decode
    assert len(split) > 2 * len(words)
    for i in range(len(split)):
        word = next(word for word in words if word[0] in decode(split.row(i)))
        assert word in decode(split.prompt(i))


def test_a_text_is_distinct_by_its_words_and_not_by_its_prompt(tmp_path: Path) -> None:
    given = [("one", "same"), ("two", "same"), ("two", "other")]
    prepared = prepare(
        Listed(train=given, validation=[("v", "w")]), small(tmp_path, tokenizer="bytes"), quiet, 1
    )
    assert prepared.manifest["splits"]["train"]["distinct"] == 2 and prepared.manifest["overlap"] == 0


@functools.cache
def words_tokenizer(size: int) -> TextTokenizer:
    """A vocabulary of ``size`` ids: w0, w1, … and the end mark, which is the last."""
    engine = Tokenizer(models.WordLevel({f"w{i}": i for i in range(size - 1)}, unk_token="<none>"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = TextTokenizer(engine)
    assert tokenizer.size == size
    return tokenizer


@pytest.mark.parametrize(
    "size, dtype, of_prompts",
    [
        *((65_535, "uint16", False), (65_537, "uint32", True)),
        pytest.param(65_537, "uint32", False, marks=pytest.mark.slow),
    ],
)
def test_the_largest_ids_come_back(tmp_path: Path, size: int, dtype: str, of_prompts: bool) -> None:
    large, other = words_tokenizer(size), words_tokenizer(100)
    tokenizers = (other, large) if of_prompts else (large, other)
    last, few = [size - 3, size - 2], [3, 98]
    prompt, text = (last, few) if of_prompts else (few, last)
    written = (" ".join(f"w{i}" for i in prompt), " ".join(f"w{i}" for i in text))
    source = Listed(train=[written], validation=[written])
    prepared = prepare(
        source,
        small(tmp_path, vocab_size=70_000),
        quiet,
        1,
        prompt_tokenizer=tokenizers[1],
        tokenizer=tokenizers[0],
    )
    split, end = prepared.split("validation"), tokenizers[0].end
    assert prepared.manifest["dtype"] == dtype
    assert split.row(0).tolist() == [end, *text, end] and split.prompt(0).tolist() == prompt
    size_on_disk = (prepared.folder / "train.tokens.bin").stat().st_size
    assert size_on_disk == 4 * np.dtype(dtype).itemsize


def test_the_digest_is_that_of_the_rows_alone(tmp_path: Path) -> None:
    """Another place and another spelling of the vocabulary leave it; one letter of either split changes it."""
    base = {name: list(pairs) for name, pairs in DOCUMENTS.items()}

    def digest(folder: str, documents: dict[str, list[tuple[str, str]]], more: bool = False) -> str:
        tokenizer = build_tokenizer("bytes", 257, [])
        if more:
            tokenizer.engine.add_tokens(["<never used>"])
            tokenizer = TextTokenizer(tokenizer.engine)
        return prepare(Listed(**documents), small(tmp_path / folder), quiet, 1, tokenizer=tokenizer).digest

    first = digest("a", base)
    assert digest("b", base) == digest("c", base, more=True) == first
    for name in SPLITS:
        prompt, text = base[name][0]
        changed = {**base, name: [(prompt, text[:-1] + "z"), *base[name][1:]]}
        assert digest(f"d-{name}", changed) != first


def test_the_manifest_has_the_hash_of_every_file(tmp_path: Path) -> None:
    prepared = prepare(Listed(**DOCUMENTS), small(tmp_path, tokenizer="bytes"), quiet, 1)
    files = sorted(path for path in prepared.folder.iterdir() if path.name != "manifest.json")
    by_hand = {
        path.name: {"size": len(path.read_bytes()), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in files
    }
    assert prepared.manifest["files"] == by_hand and len(by_hand) == 11
    assert open_prepared(prepared.folder).digest == prepared.digest


CHANGES = {
    "vocab_size": 500,
    "context_length": 64,
    "prompt_length": 9,
    "tokenizer": "bytes",
    "prompt_encoder": "hf:some-model",
    "text_field": "label",
    "prompt_field": "label",
    "prompt_template": "{label}",
    "validation_fraction": 0.3,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_of_the_rows_has_a_folder_of_its_own(tmp_path: Path, name: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records(10)))
    config = small(tmp_path, data=str(path))
    first, changed = (
        prepared_folder(open_source(c.corpus, 0), c)
        for c in (config, config.with_fields(**{name: CHANGES[name]}))
    )
    assert first != changed and first.parent == changed.parent == tmp_path / "data"


def test_seed_and_number_of_stories_have_folders_of_their_own_and_rates_have_not() -> None:
    folders = set()
    for seed, stories in ((0, 200), (1, 200), (0, 2000)):
        config = preset("nano", stories=stories)
        folders.add(prepared_folder(open_source(config.corpus, seed), config))
        faster = config.with_fields(learning_rate=0.5, max_steps=7, batch_size=2)
        folders.add(prepared_folder(open_source(faster.corpus, seed), faster))
    assert len(folders) == 3


def test_a_changed_vocabulary_file_has_a_folder_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "letters.json"
    config = small(tmp_path, tokenizer=str(path))
    folders = set()
    for letters in ("ab", "abc", "ab"):
        build_tokenizer("characters", 10, [letters]).save(path)
        folders.add(prepared_folder(open_source(config.corpus, 0), config))
    assert len(folders) == 2


def test_a_resumed_run_keeps_its_tokenizers(tmp_path: Path) -> None:
    config, source = small(tmp_path, tokenizer="bytes"), Listed(**DOCUMENTS)
    first = prepare(source, config, quiet, 1)
    assert prepare(source, config, quiet, 1, tokenizer=first.tokenizer).folder == first.folder
    letters = build_tokenizer("characters", 400, ["abcdvlonger than eightyxp short", *"WTDS"])
    other = prepare(source, config, quiet, 1, tokenizer=letters)
    assert other.folder != first.folder and other.tokenizer.size == letters.size
    prompts = prepare(source, config, quiet, 1, prompt_tokenizer=letters, tokenizer=first.tokenizer)
    assert (
        prompts.folder not in (first.folder, other.folder) and prompts.prompt_tokenizer.size == letters.size
    )
    assert prompts.tokenizer.size == first.tokenizer.size
