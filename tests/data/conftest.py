"""What several tests of data share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sunfish.data.dataset import PreparedCorpus
from sunfish.data.prepare.prepare import prepare
from sunfish.data.sources import open_source
from tests.data.corpora import quiet, small


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., PreparedCorpus]:
    """Writes records to a file and prepares it."""

    def run(records: list[dict], workers: int = 1, **fields) -> PreparedCorpus:
        path = tmp_path / "corpus.jsonl"
        content = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
        config = small(tmp_path, data=str(path), **fields)
        return prepare(open_source(config.corpus, 0), config, quiet, workers)

    return run
