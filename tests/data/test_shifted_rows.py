"""Rows of one long text that begin later: every stretch against the text itself, over parts of uneven lengths."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from sunfish.data.sources.files.plain_text import read_long_text
from tests.data.corpora import quiet, small


@pytest.mark.parametrize("part", [33, 40, 62])
def test_a_shifted_row_is_a_stretch_of_three_rows_or_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Parts of 33 are rows of 31 and 2 tokens, so that two rows hold less than a shifted one needs."""
    monkeypatch.setattr(
        "sunfish.data.sources.files.source.read_long_text", partial(read_long_text, part_characters=part)
    )
    text = "".join(chr(0x4E00 + i) for i in range(300))
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    config = small(
        tmp_path,
        data=str(tmp_path / "long.txt"),
        delimiter="none",
        tokenizer="characters",
        prompt_length=0,
    )
    prepared = prepare(open_source(config.corpus, 0), config, quiet, 1)
    split, end = prepared.split("train"), prepared.tokenizer.end
    tokens = [split.row(i)[1:].tolist() for i in range(len(split))]
    whole = [token for row in tokens for token in row]
    moved = 0
    for index, row in enumerate(tokens):
        begin = sum(map(len, tokens[:index]))
        near = sum(map(len, tokens[index : min(index + 3, len(tokens) - 1)]))
        for shift in range(31):
            fits = shift + len(row) <= near
            stretch = whole[begin + shift : begin + shift + len(row)] if fits else row
            assert split.row(index, shift).tolist() == [end, *stretch]
            moved += fits and shift > 0
    assert moved > 100
