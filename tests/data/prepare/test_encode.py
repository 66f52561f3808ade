"""Texts longer than the context: the windows that they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from sunfish.data.dataset import report
from sunfish.data.prepare.encode import context_windows
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.data.sources.base import SPLITS
from tests.data.corpora import quiet, small, text_of


@pytest.mark.parametrize("length", [1, 5, 6, 7, 8, 13, 14, 15, 16, 100])
@pytest.mark.parametrize("ends", [True, False])
def test_windows_reassemble_to_the_document(length: int, ends: bool) -> None:
    ids = list(range(1, length + 1))
    windows = context_windows(length, 8, ends=ends)
    rows = [[0, *ids[a:b], *([0] if ends and b == length else [])] for a, b in windows]
    assert [i for row in rows for i in row if i] == ids
    assert all(2 + ends <= len(row) <= 8 for row in rows)
    assert (rows[-1][-1] == 0) == ends and all(row[-1] != 0 for row in rows[:-1])


@pytest.mark.parametrize("tokenizer", ["bpe", "bytes", "characters"])
def test_long_documents_become_windows_with_their_prompt_and_exact_bytes(make, tokenizer: str) -> None:
    given = [{"text": text_of(i, 60) + " né 日本\U0001f600" * (i % 4), "p": f"n {i}"} for i in range(12)]
    prepared = make(given, tokenizer=tokenizer, prompt_field="p")
    prompts = {r["p"]: r["text"] for r in given}
    ids: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for name in SPLITS:
        split = prepared.split(name)
        assert split.lengths.max() <= 32
        for i in range(len(split)):
            prompt = prepared.tokenizer.decode(split.prompt(i))
            ids.setdefault(prompt, []).extend(split.row(i)[1:])
            sizes[prompt] = sizes.get(prompt, 0) + int(split.bytes[i])
    assert {p: prepared.tokenizer.decode(row) for p, row in ids.items()} == prompts
    assert all(row[-1] == prepared.tokenizer.end for row in ids.values())
    assert sizes == {p: len(t.encode()) for p, t in prompts.items()}
    counts = prepared.manifest["splits"]["train"]
    assert counts["cut_documents"] == counts["documents"] and counts["windows"] == counts["rows"]
    assert "cut into" in report(prepared)


def test_one_long_text_has_a_prompt_of_its_own_in_each_window(tmp_path: Path) -> None:
    blank = "\n" * 300  # several windows have no word
    text = blank.join(" ".join(text_of(i, 12) for i in range(count)) for count in (40, 9))
    path = tmp_path / "long.txt"
    path.write_text(text)
    config = small(tmp_path, data=str(path), delimiter="none", tokenizer="characters", prompt_length=50)
    prepared = prepare(open_source(config.corpus, 0), config, quiet, 1)
    split = prepared.split("train")
    assert len({tuple(split.prompt(i)) for i in range(len(split))}) > len(split) / 2
    assert all(len(split.prompt(i)) for i in range(len(split)))
    splits = [prepared.split(name) for name in SPLITS]
    rows = [split.row(i) for split in splits for i in range(len(split))]
    assert "".join(prepared.tokenizer.decode(row) for row in rows) == text
