"""A prepared corpus: damage is named, the report counts, rows of one long text can be shifted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import open_prepared, report
from sunfish.data.manifest import FILES, MANIFEST, REMEDY
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.data.sources.base import SPLITS
from sunfish.data.sources.files.plain_text import PART_CHARACTERS, read_long_text
from sunfish.disk.json_file import seal
from sunfish.utils import UsageError, file_sha256
from tests.data.corpora import quiet, records, small


def test_damage_of_every_file_is_named_with_the_remedy(make, tmp_path: Path) -> None:
    folder = make(records(10)).folder
    names = {*FILES, MANIFEST}
    assert {path.name for path in folder.iterdir()} == names
    assert make(records(10)).manifest["splits"]["train"]["documents"] == 8
    for name in sorted(names):
        path = folder / name
        content = path.read_bytes()
        for change in (flipped(content), content[:-2], content + b"}", None):
            path.unlink() if change is None else path.write_bytes(change)
            with pytest.raises(ValueError, match=rf"{name}|no prepared corpus") as error:
                make(records(10))
            assert "\n" not in str(error.value) and len(str(error.value)) < 400
            remedy = "run 'sunfish data' first" if name == MANIFEST and change is None else REMEDY
            assert str(error.value).endswith(remedy)
            path.write_bytes(content)
    assert open_prepared(folder).digest == make(records(10)).digest
    with pytest.raises(UsageError, match="does not exist"):
        open_prepared(tmp_path / "absent")


def flipped(content: bytes) -> bytes:
    """One bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_a_damaged_folder_is_prepared_again_once_it_is_deleted(make) -> None:
    first = make(records(10))
    (first.folder / "train.tokens.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train.tokens.bin has 0 bytes instead of \d+; delete the folder"):
        make(records(10))
    shutil.rmtree(first.folder)
    assert make(records(10)).manifest == first.manifest


def test_the_manifest_of_another_format_is_named_with_both(make) -> None:
    folder = make(records(10)).folder
    edit_manifest(folder, lambda manifest: manifest.update(format=1, files=None))
    with pytest.raises(ValueError, match=r"has format 1, but this version reads format 3; delete the folder"):
        open_prepared(folder)


def test_another_corpus_under_the_name_of_this_one_is_refused(make) -> None:
    folder = make(records(10)).folder
    edit_manifest(folder, lambda manifest: manifest["recipe"].update(source={"other": 1}))
    assert open_prepared(folder)
    with pytest.raises(ValueError, match="holds another corpus than its name says; delete the folder"):
        make(records(10))


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "") -> None:
    """Change a manifest, and its hashes of ``name`` and of itself, as someone would who means harm."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    change(manifest)
    if name:
        file = folder / name
        manifest["files"][name] = {"size": file.stat().st_size, "sha256": file_sha256(file)}
    path.write_text(json.dumps(seal(manifest)))


VALUES = (None, True, -1, 1.5, "x", "../x", [], {}, [1], {"a": 1}, 2**70)
COMPARED = [("recipe", name) for name in ("format", "source", "prompt_encoder")]  # with those of a run alone


def test_every_value_of_the_manifest_is_checked(make) -> None:
    """Each value in turn becomes each of VALUES, the hash agrees, and what is not refused is as good as before."""
    folder = make(records(10)).folder
    original = json.loads((folder / MANIFEST).read_text())
    for keys in places(original):
        if keys[0] in ("sha256", "format") or keys[:2] in COMPARED:
            continue
        for value in VALUES:
            (folder / MANIFEST).write_text(json.dumps(original))
            edit_manifest(folder, partial(put, keys=keys, value=value))
            try:
                corpus = open_prepared(folder)
                assert len(report(corpus).splitlines()) >= 3
                assert [len(corpus.split(name)) for name in SPLITS] == [8, 2]
            except ValueError as why:
                assert str(folder) in str(why) and str(why).endswith(REMEDY), (keys, value)
                assert len(str(why)) < 400
            else:
                assert type(value) is type(get(original, keys)), (keys, value)


def places(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys of every value."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*keys, key)
        yield from places(value[key], (*keys, key))


def get(value: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        value = value[key]
    return value


def put(manifest: dict[str, Any], keys: tuple[Any, ...], value: Any) -> None:
    get(manifest, keys[:-1])[keys[-1]] = value


HEADERS = (
    b"",
    b"PK\x03\x04",
    b"\x93NUMPY\x01\x00\x02\x00((",
    b"\x93NUMPY\x01\x00\x10\x00{'descr': '<i8'\n",
    b"\x93NUMPY\x01\x00\x08\x00(9L,\n   ",
    b"\x93NUMPY\x09\x09\x00\x00",
)


def arrays(path: Path) -> Iterator[None]:
    """Damages of an array, one after the other; none of them can stand for it."""
    array = np.load(path)
    for header in HEADERS:
        yield path.write_bytes(header + bytes(64)) and None
    other = [array[::-1], -array - 1, array.astype("f8"), array[None], array.astype(">i8"), array[:-1]]
    for one in [*other, array + 10**12, np.zeros_like(array)[:0]]:
        yield np.save(path, one)
    objects = np.empty(3, dtype=object)
    objects[:] = [Path("payload")] * 3
    yield np.save(path, objects, allow_pickle=True)
    huge = {"descr": "<i8", "fortran_order": False, "shape": (10**12,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, huge)
    yield


def test_a_damaged_array_is_named_in_one_line_though_its_hash_agrees(make) -> None:
    folder = make(records(10)).folder
    path = folder / "train.offsets.npy"
    for _ in arrays(path):
        edit_manifest(folder, lambda manifest: None, path.name)
        with pytest.raises(
            ValueError, match=r"train.offsets.npy is damaged \(.*\); delete the folder"
        ) as error:
            open_prepared(folder).split("train")
        assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["train.tokens.bin", "train.prompts.bin"])
def test_an_id_outside_the_vocabulary_is_named_though_its_hash_agrees(make, name: str) -> None:
    folder = make(records(10)).folder
    content = bytearray((folder / name).read_bytes())
    content[-2:] = b"\xff\xff"
    (folder / name).write_bytes(content)
    edit_manifest(folder, lambda manifest: None, name)
    with pytest.raises(ValueError, match=rf"{name} is damaged \(id 65535 of a vocabulary of \d+\)"):
        open_prepared(folder).split("train")


def test_the_report_counts_both_splits(make) -> None:
    text = report(make(records(20)))
    assert "train: 16 documents (16 distinct), 16 rows" in text
    assert "validation: 4 documents (4 distinct), 4 rows" in text


@pytest.mark.parametrize(
    ("length", "part"),
    [*((length, PART_CHARACTERS) for length in (300, 310, 311, 312, 341)), (311, 37), (312, 62), (341, 150)],
)
def test_one_long_text_is_cut_at_another_place_in_each_epoch(
    tmp_path: Path, length: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of every epoch is a stretch of the text, however long; later epochs begin theirs elsewhere."""
    monkeypatch.setattr(
        "sunfish.data.sources.files.source.read_long_text", partial(read_long_text, part_characters=part)
    )
    # Each letter occurs once, so a stretch tells where it is from.
    text = "".join(chr(0x4E00 + i) for i in range(length))
    (tmp_path / "long.txt").write_text(text + text[: length // 4], encoding="utf-8")
    config = small(
        tmp_path,
        data=str(tmp_path / "long.txt"),
        delimiter="none",
        tokenizer="characters",
        prompt_length=0,
        vocab_size=500,
    )
    prepared = prepare(open_source(config.corpus, 0), config, quiet, 1)
    split, end = prepared.split("train"), prepared.tokenizer.end
    assert split.one_text and prepared.manifest["splits"]["train"]["documents"] == 1
    whole = [int(i) for row in range(len(split)) for i in split.row(row) if i != end]
    batches, begins = BatchLoader(split, 1, end, seed=3), []
    for epoch in range(6):
        begins_of_epoch = set()
        for step in range(epoch * len(split), (epoch + 1) * len(split)):
            batch = batches.batch(step)
            ids = batch.x0[0, : batch.lengths[0]].tolist()
            assert ids[0] == end and end not in ids[1:-1]
            stretch = [i for i in ids if i != end]
            begin = next(at for at in range(len(whole)) if whole[at : at + len(stretch)] == stretch)
            assert (ids[-1] == end) == (begin + len(stretch) == len(whole))
            begins_of_epoch.add(begin)
        # The last rows are not moved, so one that was moved may begin where one of them does.
        assert len(begins_of_epoch) >= len(split) - (part < length)
        begins.append(frozenset(begins_of_epoch))
    assert len(set(begins)) > 3
    assert [b.x0.tolist() for b in batches.in_order(0, 4)] == [
        b.x0.tolist() for b in BatchLoader(split, 1, end, seed=4).in_order(0, 4)
    ]


def test_many_texts_and_texts_with_prompts_are_cut_as_they_were_prepared(make) -> None:
    assert not make(records(20), prompt_length=0).split("train").one_text
    assert not make(records(20)).split("train").one_text
