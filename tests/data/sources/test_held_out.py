"""Which documents are validation and which training: the exact share, by a hash that is computed here again."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import pytest

from sunfish.config import DataConfig
from sunfish.data.sources import held_out as rules
from sunfish.data.sources import open_source
from sunfish.data.sources.base import SPLITS, ContinuedExample
from sunfish.data.sources.files import FileSource, source
from sunfish.data.stories import story
from tests.data.sources.files import jsonl, write


def hash_of(text: str) -> int:
    """The first eight bytes of BLAKE2b as a number, the most significant first."""
    return int(hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), 16)


def held_out_by_hand(texts: list[str], fraction: float) -> set[str]:
    """Of under 1,000 documents the exact share of the distinct ones, lowest hashes first; else all below it."""
    if len(texts) >= 1000:
        return {text for text in texts if hash_of(text) < int(fraction * 2**64)}
    distinct = sorted(set(texts), key=hash_of)
    return set(distinct[: min(max(1, round(fraction * len(distinct))), len(distinct) - 1)])


@pytest.mark.parametrize(
    "count, distinct, fraction",
    [
        *[(10, 10, 0.05), (40, 40, 0.1), (41, 40, 0.25), (2, 2, 0.99), (100, 30, 0.5)],
        *[(999, 999, 0.3), (1000, 1000, 0.3), (1200, 900, 0.7)],
    ],
)
def test_each_document_is_on_the_side_of_its_hash(
    tmp_path: Path, count: int, distinct: int, fraction: float
) -> None:
    texts = [f"document {i % distinct}" for i in range(count)]
    files = FileSource(
        write(tmp_path / "a.txt", "\n".join(texts)), delimiter="\n", validation_fraction=fraction
    )
    train, validation = ([e.text for e in files.examples(split)] for split in SPLITS)
    held_out = held_out_by_hand(texts, fraction)
    assert validation == [text for text in texts if text in held_out]
    assert train == [text for text in texts if text not in held_out]


@pytest.mark.parametrize("length, fraction", [(100, 0.1), (101, 0.1), (1000, 0.333), (7, 0.5)])
def test_one_long_text_is_cut_at_its_share(tmp_path: Path, length: int, fraction: float) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(length))
    path = write(tmp_path / "a.txt", text)
    files = FileSource(path, delimiter="none", validation_fraction=fraction)
    train, validation = ("".join(e.text for e in files.examples(split)) for split in SPLITS)
    assert train + validation == text
    assert len(validation) - 1 < fraction * length <= len(validation)


def test_every_part_but_the_last_of_a_file_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is a text with an end of its own; the line of each part is its first one."""
    original = source.read_long_text
    monkeypatch.setattr(source, "read_long_text", lambda *where: original(*where, part_characters=20))
    for name in "ab":
        write(tmp_path / "c" / f"{name}.txt", "\n".join(f"{name}{i:04}" for i in range(10)))
    files = FileSource(tmp_path / "c", delimiter="none", validation_fraction=0.5)
    for split, first_line in (("train", 1), ("validation", 5)):
        documents = list(files.documents(split))
        for name in "ab":
            parts = [(d.location, d.example) for d in documents if d.location.startswith(f"{name}.txt:")]
            assert [type(part) is ContinuedExample for _, part in parts] == [True] * (len(parts) - 1) + [
                False
            ]
            whole = "".join(example.text for _, example in parts)
            assert len(whole) in (29, 30) and max(len(example.text) for _, example in parts) <= 20
            begin = (tmp_path / "c" / f"{name}.txt").read_text().index(whole)
            for location, example in parts:
                lines = (tmp_path / "c" / f"{name}.txt").read_text()[:begin].count("\n") + 1
                assert location == f"{name}.txt:{lines}"
                begin += len(example.text)
            assert parts[0][0] == f"{name}.txt:{first_line}"


@pytest.mark.parametrize(
    "size, parts", [(20, ["a0000\na0001\na0002\nab"]), (19, ["a0000\na0001\na0002", "\nab"])]
)
def test_a_text_as_long_as_a_part_is_one(tmp_path: Path, size: int, parts: list[str]) -> None:
    path = write(tmp_path / "a.txt", "".join(parts))
    assert [part for _, part in source.read_long_text(path, 0, 20, size)] == parts


def test_records_beside_one_long_text_are_for_training(tmp_path: Path) -> None:
    write(tmp_path / "c" / "a.txt", "abcdefghij")
    jsonl(tmp_path / "c" / "b.jsonl", [{"text": f"record {i}"} for i in range(5)])
    files = FileSource(tmp_path / "c", delimiter="none", validation_fraction=0.5)
    texts = {split: [e.text for e in files.examples(split)] for split in SPLITS}
    assert texts == {"train": ["abcde", *(f"record {i}" for i in range(5))], "validation": ["fghij"]}


def test_a_chunk_ends_with_the_document_that_fills_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "CHUNK_CHARACTERS", 100)
    texts = [letter * size for letter, size in zip("abcdefgh", (60, 40, 1, 1, 200, 1, 1, 1), strict=True)]
    files = FileSource(write(tmp_path / "a.txt", "\n".join([*texts, "z"])), delimiter="\n")
    held_out = held_out_by_hand([*texts, "z"], 0.05)
    left = [text for text in [*texts, "z"] if text not in held_out]
    chunks = [[e.text for _, e in pickle.loads(pickle.dumps(c))()] for c in files.chunks("train", 3)]
    assert [text for chunk in chunks for text in chunk] == left
    for chunk in chunks[:-1]:
        assert len(chunk) == 3 or sum(map(len, chunk)) >= 100
        assert len(chunk) <= 3 and sum(map(len, chunk[:-1])) < 100


@pytest.mark.parametrize(
    "setting, value",
    [
        ("text_field", "label"),
        ("prompt_field", "label"),
        ("prompt_template", "{label}"),
        ("validation_fraction", 0.3),
    ],
)
def test_a_fingerprint_follows_each_setting(tmp_path: Path, setting: str, value: object) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"text": "one", "label": "x"}, {"text": "two", "label": "y"}])
    first, other = FileSource(path), FileSource(path, **{setting: value})
    assert first.fingerprint() != other.fingerprint()


def test_a_fingerprint_follows_what_is_written_over_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n\ntwo")
    before = FileSource(path).fingerprint()
    write(path, "one\n\nsix")  # of the same size
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert FileSource(path).fingerprint() != before


@pytest.mark.parametrize(
    "stories, held_out", [(100, 100), (999, 100), (1_990, 199), (20_000, 2_000), (60_000, 2_000)]
)
def test_a_tenth_of_the_stories_within_bounds_is_held_out(stories: int, held_out: int) -> None:
    files = open_source(DataConfig(stories=stories), seed=3)
    assert (files.total("train"), files.total("validation")) == (stories, held_out)


def test_stories_are_those_of_their_seed_split_and_number() -> None:
    stories = open_source(DataConfig(stories=100), seed=3)
    for split in SPLITS:
        documents = [document for chunk in list(stories.chunks(split, 45))[1:] for document in chunk()]
        assert [location for location, _ in documents] == [f"stories {split}:{i}" for i in range(45, 100)]
        for index in (0, 44, 54):
            assert documents[index].example == story(3, split, 45 + index)[:2]
    assert next(stories.examples("train", start=98)) == story(3, "train", 98)[:2]
    prints = [
        open_source(DataConfig(stories=n), seed).fingerprint() for n, seed in ((100, 3), (100, 4), (200, 3))
    ]
    assert len({str(sorted(fingerprint.items())) for fingerprint in prints}) == 3


@pytest.mark.parametrize("split, share", [("train", (0, 70)), ("validation", (70, 80)), ("test", (80, 90))])
def test_a_story_is_in_the_split_of_its_hash(split: str, share: tuple[int, int]) -> None:
    for index in range(12):
        text = story(11, split, index).text
        assert share[0] <= hash_of(text) % 100 < share[1] and len(text.split(" ")) >= 40
