"""The held-out prompts whose texts a run shows."""

from __future__ import annotations

import json
from pathlib import Path

from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources.files import FileSource
from sunfish.training.shown_prompts import shown_prompts
from tests.data.corpora import quiet, small, text_of


def test_a_sorted_corpus_shows_prompts_of_two_labels(tmp_path: Path) -> None:
    records = [{"text": text_of(i, 6), "label": "bad" if i < 20 else "good"} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    source = FileSource(tmp_path / "a.jsonl", prompt_field="label", validation_fraction=0.5)
    prepared = prepare(source, small(tmp_path), quiet)
    assert shown_prompts(prepared, 8) == ["bad", "good"]
    assert shown_prompts(prepared, 0) == []
