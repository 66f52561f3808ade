"""A prepared corpus: damage is named, the report counts, rows of one long text can be shifted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sunfish.data.dataloader import BatchLoader
from sunfish.data.dataset import open_prepared, report
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.data.sources.files.plain_text import PART_CHARACTERS, read_long_text
from sunfish.utils import UsageError
from tests.data.corpora import quiet, records, small


def test_damage_is_named(make, tmp_path: Path) -> None:
    folder = make(records(10)).folder
    assert open_prepared(folder, verify=True).manifest["splits"]["train"]["documents"] == 8
    tokens = folder / "train.tokens.bin"
    content = tokens.read_bytes()
    tokens.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    open_prepared(folder)
    with pytest.raises(ValueError, match=r"train.tokens.bin does not have the content.*delete the folder"):
        open_prepared(folder, verify=True)
    tokens.write_bytes(content[:-2])
    with pytest.raises(ValueError, match=r"train.tokens.bin has \d+ bytes instead of \d+"):
        open_prepared(folder)
    tokens.unlink()
    with pytest.raises(ValueError, match=r"train.tokens.bin is missing"):
        make(records(10))
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest.json is damaged"):
        open_prepared(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"has no manifest.json"):
        open_prepared(folder)
    with pytest.raises(UsageError, match="does not exist"):
        open_prepared(tmp_path / "absent")


def test_the_report_counts_both_splits(make) -> None:
    text = report(make(records(20)))
    assert "train: 16 documents (16 distinct), 16 rows" in text
    assert "validation: 4 documents (4 distinct), 4 rows" in text


@pytest.mark.parametrize("length", [300, 310, 311, 312, 341])
@pytest.mark.parametrize("part", [PART_CHARACTERS, 37, 62, 150])
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
