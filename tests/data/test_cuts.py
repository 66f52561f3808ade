"""Texts longer than the context: the windows that they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.data.dataloader import Batches
from sunfish.data.prepare.encode import windows
from sunfish.data.prepare.prepare import prepare, report
from sunfish.data.sources.open import open_source
from tests.data.corpora import quiet, records, small, text_of


@pytest.mark.parametrize("length", [1, 5, 6, 7, 8, 13, 14, 15, 16, 100])
def test_windows_reassemble_to_the_document(length: int) -> None:
    ids = list(range(1, length + 1))
    cut = windows(ids, context_length=8)
    rows = [[0, *ids[a:b], *([0] if b == length else [])] for a, b in cut]
    assert [i for row in rows for i in row if i] == ids
    assert all(3 <= len(row) <= 8 for row in rows)
    assert rows[-1][-1] == 0 and all(row[-1] != 0 for row in rows[:-1])


@pytest.mark.parametrize("tokenizer", ["bpe", "bytes", "characters"])
def test_long_documents_become_windows_with_their_prompt_and_exact_bytes(make, tokenizer: str) -> None:
    given = [{"text": text_of(i, 60) + " né 日本\U0001f600" * (i % 4), "p": f"n {i}"} for i in range(12)]
    prepared = make(given, tokenizer=tokenizer, prompt_field="p")
    prompts = {r["p"]: r["text"] for r in given}
    ids: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for name in ("train", "validation"):
        split = prepared.split(name)
        assert split.lengths.max() <= 32
        for i in range(len(split)):
            prompt = prepared.tokenizer.decode(split.prompt(i))
            ids.setdefault(prompt, []).extend(split.row(i)[1:])
            sizes[prompt] = sizes.get(prompt, 0) + int(split.bytes[i])
    assert {p: prepared.tokenizer.decode(row) for p, row in ids.items()} == prompts
    assert all(row[-1] == prepared.tokenizer.end for row in ids.values())
    assert sizes == {p: len(t.encode()) for p, t in prompts.items()}
    part = prepared.manifest["splits"]["train"]
    assert part["cut_documents"] == part["documents"] and part["windows"] == part["rows"]
    assert "cut into" in report(prepared)


def test_one_long_text_has_a_prompt_of_its_own_in_each_window(tmp_path: Path) -> None:
    blank = "\n" * 300  # whole windows of nothing
    (tmp_path / "long.txt").write_text(
        blank.join(" ".join(text_of(i, 12) for i in range(k)) for k in (40, 9))
    )
    config = small(
        tmp_path, data=str(tmp_path / "long.txt"), delimiter="none", tokenizer="characters", prompt_length=50
    )
    prepared = prepare(open_source(config.corpus, 0), config, quiet, 1)
    split = prepared.split("train")
    assert len({tuple(split.prompt(i)) for i in range(len(split))}) > len(split) / 2
    assert all(len(split.prompt(i)) for i in range(len(split)))
    both = "".join(
        prepared.tokenizer.decode(prepared.split(s).row(i))
        for s in ("train", "validation")
        for i in range(len(prepared.split(s)))
    )
    assert both == (tmp_path / "long.txt").read_text()


@pytest.mark.parametrize("length", [300, 310, 311, 312, 341])
def test_one_long_text_is_cut_at_another_place_in_each_epoch(tmp_path: Path, length: int) -> None:
    """Every row of every epoch is a stretch of the text, and later epochs begin theirs elsewhere."""
    # Each letter once: a stretch tells where it is from.
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
    assert split.one_text
    whole = [int(i) for row in range(len(split)) for i in split.row(row) if i != end]
    batches, begins = Batches(split, 1, end, seed=3), []
    for epoch in range(6):
        found = set()
        for step in range(epoch * len(split), (epoch + 1) * len(split)):
            batch = batches.batch(step)
            ids = batch.x0[0, : batch.lengths[0]].tolist()
            assert ids[0] == end and end not in ids[1:-1]
            stretch = [i for i in ids if i != end]
            begin = next(at for at in range(len(whole)) if whole[at : at + len(stretch)] == stretch)
            assert (ids[-1] == end) == (begin + len(stretch) == len(whole))
            found.add(begin)
        assert len(found) == len(split)
        begins.append(found)
    assert len({frozenset(found) for found in begins}) > 3
    assert [b.x0.tolist() for b in batches.in_order(0, 4)] == [
        b.x0.tolist() for b in Batches(split, 1, end, seed=4).in_order(0, 4)
    ]


def test_many_texts_and_texts_with_prompts_are_cut_as_they_were_prepared(make) -> None:
    assert not make(records(20), prompt_length=0).split("train").one_text
    assert not make(records(20)).split("train").one_text
